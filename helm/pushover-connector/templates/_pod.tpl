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
{{- with .Values.tolerations }}
tolerations:
  {{- include "pushover-connector.tpl" (dict "value" . "context" $) | nindent 2 }}
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

{{- define "pushover-connector.containerSettings" -}}
image: {{ include "pushover-connector.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
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
{{- end }}
{{- with .context.Values.extraVolumeMounts }}
{{ include "pushover-connector.tpl" (dict "value" . "context" $.context) }}
{{- end }}
{{- end -}}

{{- define "pushover-connector.volumes" -}}
{{- if include "pushover-connector.sources" .context }}
- name: settings
  projected:
    defaultMode: 0440
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
