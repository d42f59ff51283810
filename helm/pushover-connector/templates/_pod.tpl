{{/* Settings of a pod, of the connector and of the test alike. */}}
{{- define "pushover-connector.podSettings" -}}
serviceAccountName: {{ include "pushover-connector.serviceAccountName" . }}
automountServiceAccountToken: {{ .Values.serviceAccount.automountServiceAccountToken }}
enableServiceLinks: false
{{- include "pushover-connector.imagePullSecrets" . }}
{{- with .Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- include "pushover-connector.tpl" (dict "value" . "context" $) | nindent 2 }}
{{- end }}
{{- $lost := kindIs "invalid" .Values.nodeLossSeconds | not }}
{{- if or $lost .Values.tolerations }}
tolerations:
{{- if $lost }}
{{- range list "not-ready" "unreachable" }}
  - key: node.kubernetes.io/{{ . }}
    operator: Exists
    effect: NoExecute
    tolerationSeconds: {{ $.Values.nodeLossSeconds }}
{{- end }}
{{- end }}
{{- with .Values.tolerations }}
  {{- include "pushover-connector.tpl" (dict "value" . "context" $) | nindent 2 }}
{{- end }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- include "pushover-connector.tpl" (dict "value" . "context" $) | nindent 2 }}
{{- end }}
{{- with .Values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- include "pushover-connector.tpl" (dict "value" . "context" $) | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .Values.schedulerName }}
schedulerName: {{ . }}
{{- end }}
{{- with .Values.hostAliases }}
hostAliases:
  {{- include "pushover-connector.tpl" (dict "value" . "context" $) | nindent 2 }}
{{- end }}
{{- with .Values.dnsPolicy }}
dnsPolicy: {{ . }}
{{- end }}
{{- with .Values.dnsConfig }}
dnsConfig:
  {{- include "pushover-connector.tpl" (dict "value" . "context" $) | nindent 2 }}
{{- end }}
{{- if not (kindIs "invalid" .Values.hostUsers) }}
hostUsers: {{ .Values.hostUsers }}
{{- end }}
{{- end -}}

{{/* With FallbackToLogsOnError "kubectl describe" shows the last line of the log of a container that failed. */}}
{{- define "pushover-connector.containerSettings" -}}
image: {{ include "pushover-connector.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
terminationMessagePolicy: FallbackToLogsOnError
{{- with .Values.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "pushover-connector.probe" -}}
{{- if (default (dict) .probe).enabled -}}
{{- $probe := omit .probe "enabled" -}}
{{- if not (or $probe.httpGet $probe.tcpSocket $probe.exec $probe.grpc) -}}
{{- $probe = merge (dict "httpGet" (dict "path" .path "port" "http")) $probe -}}
{{- end -}}
{{ .name }}:
  {{- toYaml $probe | nindent 2 }}
{{- end -}}
{{- end -}}

{{/* Mounts of .context, and of the volume at /data with .data. */}}
{{- define "pushover-connector.volumeMounts" -}}
{{- if include "pushover-connector.sources" .context }}
- name: settings
  mountPath: /etc/pushover-connector
  readOnly: true
{{- end }}
{{- if .data }}
- name: data
  mountPath: /data
  {{- with .context.Values.persistence.subPath }}
  subPath: {{ . }}
  {{- end }}
{{- end }}
{{- with .context.Values.extraVolumeMounts }}
{{ include "pushover-connector.tpl" (dict "value" . "context" $.context) }}
{{- end }}
{{- end -}}

{{- define "pushover-connector.volumes" -}}
{{- if include "pushover-connector.sources" .context }}
- name: settings
  projected:
    {{- /* 0440, which is 440 to readers of YAML 1.2 */}}
    defaultMode: 288
    sources:
      {{- include "pushover-connector.sources" .context | trim | nindent 6 }}
{{- end }}
{{- if .data }}
- name: data
  persistentVolumeClaim:
    claimName: {{ default (include "pushover-connector.fullname" .context) (tpl .context.Values.persistence.existingClaim .context) }}
{{- end }}
{{- with .context.Values.extraVolumes }}
{{ include "pushover-connector.tpl" (dict "value" . "context" $.context) }}
{{- end }}
{{- end -}}

{{/* .yaml, with the fields of .with merged over it. */}}
{{- define "pushover-connector.merged" -}}
{{- if .with -}}
{{- mergeOverwrite (fromYaml .yaml) (include "pushover-connector.tpl" (dict "value" .with "context" .context) | fromYaml) | toYaml -}}
{{- else -}}
{{- .yaml -}}
{{- end -}}
{{- end -}}

{{/*
90 % of the memory limit in bytes, for Go's collector to work harder before the
kernel kills. Empty without a limit, and where an autoscaler changes it.
*/}}
{{- define "pushover-connector.memoryLimit" -}}
{{- $limit := dig "limits" "memory" "" (default (dict) .Values.resources) -}}
{{- $limit = ternary (int64 $limit | toString) (toString $limit) (kindIs "float64" $limit) -}}
{{- $unit := get (dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824) (regexFind "[A-Za-z]*$" $limit) -}}
{{- $scaled := and .Values.verticalPodAutoscaler.enabled (ne .Values.verticalPodAutoscaler.updateMode "Off") -}}
{{- if and $unit (regexMatch "^[0-9]+(\\.[0-9]+)?[A-Za-z]*$" $limit) (not $scaled) -}}
{{- mulf (regexFind "^[0-9.]+" $limit | float64) $unit 0.9 | int64 -}}
{{- end -}}
{{- end -}}

{{/* The connector's pod and its container; podSpec and container are merged over them. */}}
{{- define "pushover-connector.podSpec" -}}
{{- include "pushover-connector.podSettings" . }}
terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
{{- with .Values.initContainers }}
initContainers:
  {{- include "pushover-connector.tpl" (dict "value" . "context" $) | nindent 2 }}
{{- end }}
containers:
  {{- include "pushover-connector.merged" (dict "yaml" (include "pushover-connector.container" .) "with" .Values.container "context" .) | nindent 2 | trim | printf "- %s" | nindent 2 }}
  {{- with .Values.sidecars }}
  {{- include "pushover-connector.tpl" (dict "value" . "context" $) | nindent 2 }}
  {{- end }}
{{- with include "pushover-connector.volumes" (dict "data" .Values.persistence.enabled "context" .) | trim }}
volumes:
  {{- . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "pushover-connector.container" -}}
name: connector
{{ include "pushover-connector.containerSettings" . }}
args:
  - run
env:
  {{- include "pushover-connector.env" . | nindent 2 }}
  {{- with include "pushover-connector.memoryLimit" . }}
  {{- if not (contains "GOMEMLIMIT" (toJson $.Values.extraEnv)) }}
  - name: GOMEMLIMIT
    value: {{ . | quote }}
  {{- end }}
  {{- end }}
  - name: HTTP_ADDR
    value: ":{{ .Values.containerPort }}"
  {{- with .Values.extraEnv }}
  {{- include "pushover-connector.tpl" (dict "value" . "context" $) | nindent 2 }}
  {{- end }}
{{- with .Values.extraEnvFrom }}
envFrom:
  {{- include "pushover-connector.tpl" (dict "value" . "context" $) | nindent 2 }}
{{- end }}
ports:
  - name: http
    containerPort: {{ .Values.containerPort }}
    protocol: TCP
  {{- with include "pushover-connector.natsPort" . }}
  - name: nats
    containerPort: {{ . }}
    protocol: TCP
  {{- end }}
{{- include "pushover-connector.probe" (dict "name" "startupProbe" "path" "/livez" "probe" .Values.startupProbe) | nindent 0 }}
{{- include "pushover-connector.probe" (dict "name" "livenessProbe" "path" "/livez" "probe" .Values.livenessProbe) | nindent 0 }}
{{- include "pushover-connector.probe" (dict "name" "readinessProbe" "path" "/readyz" "probe" .Values.readinessProbe) | nindent 0 }}
{{- with .Values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with include "pushover-connector.volumeMounts" (dict "data" .Values.persistence.enabled "context" .) | trim }}
volumeMounts:
  {{- . | nindent 2 }}
{{- end }}
{{- end -}}
