{{/* Metadata of a pod of "helm test", which is .name after the release's. */}}
{{- define "pushover-connector.testMetadata" -}}
name: {{ include "pushover-connector.fullname" .context }}-{{ .name }}
namespace: {{ include "pushover-connector.namespace" .context }}
labels:
  {{- include "pushover-connector.labels" (dict "component" "test" "context" .context) | nindent 2 }}
annotations:
  {{- $hook := dict "helm.sh/hook" "test" "helm.sh/hook-delete-policy" "before-hook-creation,hook-succeeded" "helm.sh/hook-weight" .weight }}
  {{- $theirs := merge (dict) .context.Values.tests.podAnnotations .context.Values.commonAnnotations }}
  {{- merge $hook (include "pushover-connector.tplMap" (dict "value" $theirs "context" .context) | fromYaml) | toYaml | nindent 2 }}
{{- end -}}
