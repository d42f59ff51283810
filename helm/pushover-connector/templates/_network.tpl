{{/* Ports that the connector listens on. */}}
{{- define "pushover-connector.listening" -}}
- port: {{ .Values.containerPort }}
  protocol: TCP
{{- with include "pushover-connector.natsPort" . }}
- port: {{ . }}
  protocol: TCP
{{- end }}
{{- end -}}

{{/* What the connector connects to, and "check" with the same settings. */}}
{{- define "pushover-connector.egress" -}}
{{- $n := .Values.networkPolicy -}}
{{- /* 5353: OpenShift's DNS pods, seen after translation. */ -}}
{{- include "pushover-connector.egressRule" (dict "ports" (list 53 5353) "protocols" (list "UDP" "TCP") "to" $n.dnsTo "context" .) }}
{{ include "pushover-connector.egressRule" (dict "ports" (include "pushover-connector.pushoverPorts" . | fromJsonArray) "to" $n.pushoverTo "context" .) }}
{{- with include "pushover-connector.brokerPorts" . | fromJsonArray }}
{{ include "pushover-connector.egressRule" (dict "ports" . "to" $n.brokerTo "context" $) }}
{{- end }}
{{- with include "pushover-connector.tokenPorts" . | fromJsonArray }}
{{ include "pushover-connector.egressRule" (dict "ports" . "to" $n.tokenTo "context" $) }}
{{- end }}
{{- with $n.extraEgress }}
{{ include "pushover-connector.tpl" (dict "value" . "context" $) }}
{{- end }}
{{- end -}}

{{- define "pushover-connector.egressRule" -}}
- ports:
    {{- range $port := .ports }}
    {{- range default (list "TCP") $.protocols }}
    - port: {{ $port }}
      protocol: {{ . }}
    {{- end }}
    {{- end }}
  {{- with .to }}
  to:
    {{- include "pushover-connector.tpl" (dict "value" . "context" $.context) | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* The port in a URL, or the default of its scheme. */}}
{{- define "pushover-connector.urlPort" -}}
{{- $authority := regexReplaceAll "^[a-z]+://([^/?#]*).*$" . "${1}" -}}
{{- $default := get (dict "nats" 4222 "tls" 4222 "ws" 80 "wss" 443 "http" 80 "https" 443) (splitList "://" . | first) -}}
{{- default $default (regexFind ":[0-9]+$" $authority | trimPrefix ":") -}}
{{- end -}}

{{/* Ports to connect to, as JSON arrays of numbers. */}}
{{- define "pushover-connector.pushoverPorts" -}}
{{- $p := .Values.pushover -}}
{{- $api := include "pushover-connector.urlPort" (default "https://" $p.apiUrl) -}}
{{- $stream := include "pushover-connector.urlPort" (default "wss://" $p.streamUrl) -}}
{{- list (int $api) (int $stream) | uniq | toJson -}}
{{- end -}}

{{- define "pushover-connector.tokenPorts" -}}
{{- $s := .Values.kafka.sasl -}}
{{- $ports := list -}}
{{- if and (eq .Values.sink "kafka") (eq $s.mechanism "OAUTHBEARER") $s.oauth.tokenUrl -}}
{{- $ports = append $ports (include "pushover-connector.urlPort" $s.oauth.tokenUrl | int) -}}
{{- end -}}
{{- toJson $ports -}}
{{- end -}}

{{- define "pushover-connector.brokerPorts" -}}
{{- $ports := list -}}
{{- if eq .Values.sink "nats" -}}
{{- range include "pushover-connector.natsUrl" . | splitList "," -}}
{{- with trim . }}{{ $ports = append $ports (include "pushover-connector.urlPort" . | int) }}{{ end -}}
{{- end -}}
{{- else if eq .Values.sink "kafka" -}}
{{- range include "pushover-connector.kafkaBrokers" . | splitList "," -}}
{{- $ports = append $ports (trim . | regexFind "[0-9]+$" | int) -}}
{{- end -}}
{{- end -}}
{{- $ports | uniq | toJson -}}
{{- end -}}
