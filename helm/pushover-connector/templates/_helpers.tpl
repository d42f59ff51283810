{{- define "pushover-connector.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "pushover-connector.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "pushover-connector.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{- define "pushover-connector.chart" -}}
{{- printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "pushover-connector.selectorLabels" -}}
{{- dict "app.kubernetes.io/name" (include "pushover-connector.name" .) "app.kubernetes.io/instance" .Release.Name | toYaml -}}
{{- end -}}

{{/* What selects the pods of a .component: connector, or test. */}}
{{- define "pushover-connector.podSelector" -}}
{{- set (include "pushover-connector.selectorLabels" .context | fromYaml) "app.kubernetes.io/component" .component | toYaml -}}
{{- end -}}

{{/*
Labels of an object, or of a pod of .component: the chart's, over them
commonLabels, over them its .own, and over all what selects. They are merged,
since YAML does not allow a key twice. Pods do not have the chart's version, since
a new one alone is not a reason to restart.
*/}}
{{- define "pushover-connector.labels" -}}
{{- $c := .context -}}
{{- $fixed := include "pushover-connector.selectorLabels" $c | fromYaml -}}
{{- $ours := dict "app.kubernetes.io/version" $c.Chart.AppVersion "app.kubernetes.io/managed-by" $c.Release.Service -}}
{{- if .component -}}
{{- $_ := set $fixed "app.kubernetes.io/component" .component -}}
{{- else -}}
{{- $_ := set $ours "helm.sh/chart" (include "pushover-connector.chart" $c) -}}
{{- end -}}
{{- $own := include "pushover-connector.tplMap" (dict "value" .own "context" $c) | fromYaml -}}
{{- $common := include "pushover-connector.tplMap" (dict "value" $c.Values.commonLabels "context" $c) | fromYaml -}}
{{- merge $fixed $own $common $ours | toYaml -}}
{{- end -}}

{{/* A value as YAML, its templates rendered. */}}
{{- define "pushover-connector.tpl" -}}
{{- if kindIs "string" .value -}}
{{- tpl .value .context -}}
{{- else -}}
{{- tpl (toYaml .value) .context -}}
{{- end -}}
{{- end -}}

{{/* The same for a map, for use after fromYaml, which reports an error in a key. */}}
{{- define "pushover-connector.tplMap" -}}
{{- $map := include "pushover-connector.tpl" (dict "value" (default (dict) .value) "context" .context) | fromYaml -}}
{{- with $map.Error }}{{ fail (printf "labels or annotations are not valid YAML after rendering their templates: %s" .) }}{{ end -}}
{{- toYaml $map -}}
{{- end -}}

{{/* Annotations of an object: the common ones and its own. Empty if there are none. */}}
{{- define "pushover-connector.annotations" -}}
{{- $all := merge (dict) (default (dict) .own) .context.Values.commonAnnotations -}}
{{- with $all }}
annotations:
  {{- include "pushover-connector.tpl" (dict "value" . "context" $.context) | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "pushover-connector.metadata" -}}
name: {{ .name }}
namespace: {{ default (include "pushover-connector.namespace" .context) .namespace }}
labels:
  {{- include "pushover-connector.labels" (dict "own" .labels "context" .context) | nindent 2 }}
{{- include "pushover-connector.annotations" (dict "own" .annotations "context" .context) }}
{{- end -}}

{{- define "pushover-connector.image" -}}
{{- $i := .Values.image -}}
{{- $registry := default $i.registry .Values.global.imageRegistry -}}
{{- $name := $i.repository -}}
{{- if $registry }}{{ $name = printf "%s/%s" $registry $i.repository }}{{ end -}}
{{- if $i.digest -}}
{{- printf "%s@%s" $name $i.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .Chart.AppVersion $i.tag) -}}
{{- end -}}
{{- end -}}

{{- define "pushover-connector.imagePullSecrets" -}}
{{- $names := list -}}
{{- range concat (default (list) .Values.global.imagePullSecrets) .Values.imagePullSecrets -}}
{{- $names = append $names (ternary . (get (ternary (dict) . (kindIs "string" .)) "name") (kindIs "string" .)) -}}
{{- end -}}
{{- with $names | uniq }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "pushover-connector.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "pushover-connector.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Whether a number or string is given: 0 is, null and an empty string are not. */}}
{{- define "pushover-connector.given" -}}
{{- if not (or (kindIs "invalid" .) (eq (toString .) "")) -}}true{{- end -}}
{{- end -}}

{{/* Addresses of the bus, comma-separated, their templates rendered. */}}
{{- define "pushover-connector.natsUrl" -}}
{{- tpl .Values.nats.url . | trim -}}
{{- end -}}
{{- define "pushover-connector.kafkaBrokers" -}}
{{- tpl (join "," .Values.kafka.brokers) . | trim -}}
{{- end -}}

{{/* Whether the embedded NATS server is used, and whether others can reach it. */}}
{{- define "pushover-connector.embedded" -}}
{{- if and (eq .Values.sink "nats") (not (include "pushover-connector.natsUrl" .)) -}}true{{- end -}}
{{- end -}}
{{- define "pushover-connector.natsPort" -}}
{{- if and (include "pushover-connector.embedded" .) .Values.nats.auth.type -}}4222{{- end -}}
{{- end -}}

{{- define "pushover-connector.createsCredentials" -}}
{{- if or .Values.pushover.credentials.secret .Values.pushover.credentials.deviceId -}}true{{- end -}}
{{- end -}}

{{- define "pushover-connector.credentialsSecret" -}}
{{- default (printf "%s-credentials" (include "pushover-connector.fullname" .)) (tpl .Values.pushover.existingSecret .) -}}
{{- end -}}

{{/* The chart's own Secret, for everything secret that is given as a value. */}}
{{- define "pushover-connector.ownSecret" -}}
{{- printf "%s-settings" (include "pushover-connector.fullname" .) -}}
{{- end -}}

{{- define "pushover-connector.natsAuthKey" -}}
{{- $a := .Values.nats.auth -}}
{{- default (get (dict "creds" "user.creds" "nkey" "user.nk" "token" "token" "password" "password") $a.type) $a.existingSecretKey -}}
{{- end -}}

{{/* Whether the chart makes up the embedded server's password: it has a type, and no secret is given. */}}
{{- define "pushover-connector.generatesNatsAuth" -}}
{{- $a := .Values.nats.auth -}}
{{- if and (include "pushover-connector.embedded" .) (has $a.type (list "token" "password")) (not (or $a.value $a.existingSecret)) -}}true{{- end -}}
{{- end -}}

{{/* The Secret with the login of NATS, unless it is among the chart's own settings. */}}
{{- define "pushover-connector.natsAuthSecret" -}}
{{- if include "pushover-connector.generatesNatsAuth" . -}}
{{- printf "%s-nats" (include "pushover-connector.fullname" .) -}}
{{- else if .Values.nats.auth.type -}}
{{- tpl .Values.nats.auth.existingSecret . -}}
{{- end -}}
{{- end -}}

{{- define "pushover-connector.natsUser" -}}
{{- default (ternary "reader" "" (eq (include "pushover-connector.generatesNatsAuth" .) "true")) .Values.nats.auth.user -}}
{{- end -}}
