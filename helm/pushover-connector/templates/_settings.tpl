{{/*
The program's settings: what is not secret as variables, everything secret as
files in one projected volume at /etc/pushover-connector. It is mounted as a
directory, never by subPath, so that a changed Secret reaches the program.
*/}}

{{/* Data of the Secret created from values, as a map of file to content. */}}
{{- define "pushover-connector.ownSecretData" -}}
{{- $v := .Values -}}
{{- $data := dict -}}
{{- if and $v.pushover.login.enabled (not $v.pushover.login.existingSecret) -}}
{{- $_ := set $data "login-password" $v.pushover.login.password -}}
{{- end -}}
{{- if $v.pushover.e2ee.keys -}}
{{- $_ := set $data "e2ee-keys" (join "," $v.pushover.e2ee.keys) -}}
{{- end -}}
{{- if and (eq $v.sink "nats") $v.nats.auth.type $v.nats.auth.value -}}
{{- $_ := set $data "nats-auth" $v.nats.auth.value -}}
{{- end -}}
{{- if and (eq $v.sink "nats") $v.nats.tls.cert -}}
{{- $_ := set $data "nats-tls.crt" $v.nats.tls.cert -}}
{{- $_ := set $data "nats-tls.key" $v.nats.tls.key -}}
{{- end -}}
{{- if and (eq $v.sink "kafka") (not $v.kafka.sasl.existingSecret) -}}
{{- with $v.kafka.sasl.password }}{{ $_ := set $data "kafka-password" . }}{{ end -}}
{{- with $v.kafka.sasl.oauth.clientSecret }}{{ $_ := set $data "kafka-client-secret" . }}{{ end -}}
{{- end -}}
{{- if and (eq $v.sink "kafka") $v.kafka.tls.cert -}}
{{- $_ := set $data "kafka-tls.crt" $v.kafka.tls.cert -}}
{{- $_ := set $data "kafka-tls.key" $v.kafka.tls.key -}}
{{- end -}}
{{- toJson $data -}}
{{- end -}}

{{/* Data of the ConfigMap with certificates of authorities. */}}
{{- define "pushover-connector.ownConfigData" -}}
{{- $v := .Values -}}
{{- $data := dict -}}
{{- with $v.pushover.ca }}{{ $_ := set $data "pushover-ca.crt" . }}{{ end -}}
{{- if eq $v.sink "nats" }}{{ with $v.nats.tls.ca }}{{ $_ := set $data "nats-ca.crt" . }}{{ end }}{{ end -}}
{{- if eq $v.sink "kafka" }}{{ with $v.kafka.tls.ca }}{{ $_ := set $data "kafka-ca.crt" . }}{{ end }}{{ end -}}
{{- toJson $data -}}
{{- end -}}

{{/* Sources of the projected volume. */}}
{{- define "pushover-connector.sources" -}}
{{- $v := .Values -}}
{{- if not $v.pushover.login.enabled }}
- secret:
    name: {{ include "pushover-connector.credentialsSecret" . }}
    items:
      - key: {{ ternary "credentials.json" $v.pushover.existingSecretKey (eq (include "pushover-connector.createsCredentials" .) "true") }}
        path: credentials.json
{{- end }}
{{- with $v.pushover.login }}
{{- if and .enabled .existingSecret }}
- secret:
    name: {{ tpl .existingSecret $ }}
    items:
      - key: {{ .passwordKey }}
        path: login-password
{{- end }}
{{- end }}
{{- with $v.pushover.e2ee }}
{{- if .existingSecret }}
- secret:
    name: {{ tpl .existingSecret $ }}
    items:
      - key: {{ .existingSecretKey }}
        path: e2ee-keys
{{- end }}
{{- end }}
{{- if eq $v.sink "nats" }}
{{- with include "pushover-connector.natsAuthSecret" . }}
- secret:
    name: {{ . }}
    items:
      - key: {{ include "pushover-connector.natsAuthKey" $ }}
        path: nats-auth
{{- end }}
{{- include "pushover-connector.tlsSource" (dict "tls" $v.nats.tls "bus" "nats" "context" $) }}
{{- end }}
{{- if eq $v.sink "kafka" }}
{{- with $v.kafka.sasl }}
{{- if and .mechanism .existingSecret }}
- secret:
    name: {{ tpl .existingSecret $ }}
    items:
      {{- if ne .mechanism "OAUTHBEARER" }}
      - key: {{ .passwordKey }}
        path: kafka-password
      {{- else if .oauth.tokenUrl }}
      - key: {{ .oauth.clientSecretKey }}
        path: kafka-client-secret
      {{- else }}
      - key: {{ .oauth.tokenKey }}
        path: kafka-token
      {{- end }}
{{- end }}
{{- end }}
{{- include "pushover-connector.tlsSource" (dict "tls" $v.kafka.tls "bus" "kafka" "context" $) }}
{{- end }}
{{- if include "pushover-connector.ownSecretData" . | fromJson }}
- secret:
    name: {{ include "pushover-connector.ownSecret" . }}
{{- end }}
{{- if include "pushover-connector.ownConfigData" . | fromJson }}
- configMap:
    name: {{ include "pushover-connector.fullname" . }}
{{- end }}
{{- end -}}

{{- define "pushover-connector.tlsSource" -}}
{{- if and .tls.existingSecret (or .tls.caKey .tls.certKey) }}
- secret:
    name: {{ tpl .tls.existingSecret .context }}
    items:
      {{- with .tls.caKey }}
      - key: {{ . }}
        path: {{ $.bus }}-ca.crt
      {{- end }}
      {{- if .tls.certKey }}
      - key: {{ .tls.certKey }}
        path: {{ .bus }}-tls.crt
      - key: {{ .tls.keyKey }}
        path: {{ .bus }}-tls.key
      {{- end }}
{{- end }}
{{- end -}}

{{- define "pushover-connector.secretEnv" -}}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      name: {{ tpl .secret .context }}
      key: {{ .key }}
{{- end -}}

{{- define "pushover-connector.tlsEnv" -}}
{{- if or .tls.ca (and .tls.existingSecret .tls.caKey) }}
- name: {{ .prefix }}_CA_FILE
  value: {{ .dir }}/{{ .prefix | lower }}-ca.crt
{{- end }}
{{- if or .tls.cert (and .tls.existingSecret .tls.certKey) }}
- name: {{ .prefix }}_CERT_FILE
  value: {{ .dir }}/{{ .prefix | lower }}-tls.crt
- name: {{ .prefix }}_KEY_FILE
  value: {{ .dir }}/{{ .prefix | lower }}-tls.key
{{- end }}
{{- end -}}

{{/* The program's variables. */}}
{{- define "pushover-connector.env" -}}
{{- $v := .Values -}}
{{- $dir := "/etc/pushover-connector" -}}
- name: PUSHOVER_CREDENTIALS_FILE
  value: {{ ternary "/data/credentials.json" (printf "%s/credentials.json" $dir) $v.pushover.login.enabled }}
- name: PUSHOVER_DEVICE_NAME
  value: {{ $v.pushover.deviceName | quote }}
{{- with $v.pushover.login }}
{{- if .enabled }}
{{- if .emailKey }}
{{ include "pushover-connector.secretEnv" (dict "name" "PUSHOVER_EMAIL" "secret" .existingSecret "key" .emailKey "context" $) }}
{{- else }}
- name: PUSHOVER_EMAIL
  value: {{ .email | quote }}
{{- end }}
- name: PUSHOVER_PASSWORD_FILE
  value: {{ $dir }}/login-password
{{- end }}
{{- end }}
{{- if or $v.pushover.e2ee.keys $v.pushover.e2ee.existingSecret }}
- name: PUSHOVER_E2EE_KEYS_FILE
  value: {{ $dir }}/e2ee-keys
{{- end }}
{{- with $v.pushover.apiUrl }}
- name: PUSHOVER_API_URL
  value: {{ . | quote }}
{{- end }}
{{- with $v.pushover.streamUrl }}
- name: PUSHOVER_STREAM_URL
  value: {{ . | quote }}
{{- end }}
{{- if $v.pushover.allowPlaintext }}
- name: PUSHOVER_ALLOW_PLAINTEXT
  value: "true"
{{- end }}
{{- if $v.pushover.ca }}
- name: PUSHOVER_CA_FILE
  value: {{ $dir }}/pushover-ca.crt
{{- end }}
- name: SINK
  value: {{ $v.sink }}
- name: EVENT_MODE
  value: {{ $v.eventMode }}
- name: CLEAR_DELAY
  value: {{ $v.clearDelay }}
- name: LOG_LEVEL
  value: {{ $v.log.level }}
- name: LOG_FORMAT
  value: {{ $v.log.format }}
{{- if eq $v.sink "nats" }}
{{- with $v.nats }}
{{- if not (include "pushover-connector.embedded" $) }}
- name: NATS_URL
  value: {{ include "pushover-connector.natsUrl" $ | quote }}
{{- else }}
- name: DATA_DIR
  value: /data
{{- if .auth.type }}
- name: NATS_LISTEN
  value: ":4222"
{{- end }}
{{- end }}
- name: NATS_STREAM
  value: {{ .stream | quote }}
- name: NATS_CONTROL_STREAM
  value: {{ .controlStream | quote }}
- name: NATS_SUBJECT_PREFIX
  value: {{ .subjectPrefix | quote }}
{{- with .inboxPrefix }}
- name: NATS_INBOX_PREFIX
  value: {{ . | quote }}
{{- end }}
{{- with .jsDomain }}
- name: NATS_JS_DOMAIN
  value: {{ . | quote }}
{{- end }}
{{- with .jsApiPrefix }}
- name: NATS_JS_API_PREFIX
  value: {{ . | quote }}
{{- end }}
{{- if gt (int .streams.replicas) 1 }}
- name: NATS_REPLICAS
  value: {{ .streams.replicas | quote }}
{{- end }}
{{- if .streams.maxBytes }}
- name: NATS_MAX_BYTES
  value: {{ int64 .streams.maxBytes | quote }}
{{- end }}
{{- if ne .streams.maxAge "0s" }}
- name: NATS_MAX_AGE
  value: {{ .streams.maxAge | quote }}
{{- end }}
{{- with .streams.placementCluster }}
- name: NATS_PLACEMENT_CLUSTER
  value: {{ . | quote }}
{{- end }}
{{- with .streams.placementTags }}
- name: NATS_PLACEMENT_TAGS
  value: {{ join "," . | quote }}
{{- end }}
{{- if .tls.first }}
- name: NATS_TLS_FIRST
  value: "true"
{{- end }}
{{- if eq .auth.type "password" }}
{{- if .auth.userKey }}
{{ include "pushover-connector.secretEnv" (dict "name" "NATS_USER" "secret" .auth.existingSecret "key" .auth.userKey "context" $) }}
{{- else }}
- name: NATS_USER
  value: {{ include "pushover-connector.natsUser" $ | quote }}
{{- end }}
{{- end }}
{{- if .auth.type }}
- name: {{ get (dict "creds" "NATS_CREDS_FILE" "nkey" "NATS_NKEY_FILE" "token" "NATS_TOKEN_FILE" "password" "NATS_PASSWORD_FILE") .auth.type }}
  value: {{ $dir }}/nats-auth
{{- end }}
{{- include "pushover-connector.tlsEnv" (dict "tls" .tls "prefix" "NATS" "dir" $dir) }}
{{- end }}
{{- end }}
{{- if eq $v.sink "kafka" }}
{{- with $v.kafka }}
- name: KAFKA_BROKERS
  value: {{ include "pushover-connector.kafkaBrokers" $ | quote }}
- name: KAFKA_TOPIC
  value: {{ .topic | quote }}
- name: KAFKA_CONTROL_TOPIC
  value: {{ .controlTopic | quote }}
- name: KAFKA_RESULT_TOPIC
  value: {{ .resultTopic | quote }}
- name: KAFKA_DEADLETTER_TOPIC
  value: {{ .deadletterTopic | quote }}
- name: KAFKA_GROUP
  value: {{ .group | quote }}
- name: KAFKA_CREATE_TOPICS
  value: {{ .createTopics | quote }}
{{- with .addressMap }}
- name: KAFKA_ADDRESS_MAP
  value: {{ join "," . | quote }}
{{- end }}
- name: KAFKA_TLS
  value: {{ .tls.enabled | quote }}
{{- include "pushover-connector.tlsEnv" (dict "tls" .tls "prefix" "KAFKA" "dir" $dir) }}
{{- with .sasl }}
{{- if .mechanism }}
- name: KAFKA_SASL_MECHANISM
  value: {{ .mechanism }}
{{- end }}
{{- if eq .mechanism "OAUTHBEARER" }}
{{- if .oauth.tokenUrl }}
- name: KAFKA_OAUTH_TOKEN_URL
  value: {{ .oauth.tokenUrl | quote }}
- name: KAFKA_OAUTH_CLIENT_ID
  value: {{ .oauth.clientId | quote }}
- name: KAFKA_OAUTH_CLIENT_SECRET_FILE
  value: {{ $dir }}/kafka-client-secret
{{- with .oauth.scope }}
- name: KAFKA_OAUTH_SCOPE
  value: {{ . | quote }}
{{- end }}
{{- with .oauth.audience }}
- name: KAFKA_OAUTH_AUDIENCE
  value: {{ . | quote }}
{{- end }}
{{- else }}
- name: KAFKA_OAUTH_TOKEN_FILE
  value: {{ $dir }}/kafka-token
{{- end }}
{{- with .oauth.extensions }}
- name: KAFKA_OAUTH_EXTENSIONS
  value: {{ join "," . | quote }}
{{- end }}
{{- else if .mechanism }}
{{- if .usernameKey }}
{{ include "pushover-connector.secretEnv" (dict "name" "KAFKA_USERNAME" "secret" .existingSecret "key" .usernameKey "context" $) }}
{{- else }}
- name: KAFKA_USERNAME
  value: {{ .username | quote }}
{{- end }}
- name: KAFKA_PASSWORD_FILE
  value: {{ $dir }}/kafka-password
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}
