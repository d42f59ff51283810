{{/* What the schema cannot say: settings that need or exclude each other. All problems are told at once. */}}
{{- define "pushover-connector.validate" -}}
{{- $v := .Values -}}
{{- $problems := list -}}
{{- $p := $v.pushover -}}
{{- $ways := list -}}
{{- if $p.existingSecret }}{{ $ways = append $ways "pushover.existingSecret" }}{{ end -}}
{{- if include "pushover-connector.createsCredentials" . }}{{ $ways = append $ways "pushover.credentials" }}{{ end -}}
{{- if $p.login.enabled }}{{ $ways = append $ways "pushover.login.enabled" }}{{ end -}}
{{- if gt (len $ways) 1 -}}
{{- $problems = append $problems (printf "%s exclude each other; keep one" (join ", " $ways)) -}}
{{- end -}}
{{- if and (include "pushover-connector.createsCredentials" .) (not (and $p.credentials.secret $p.credentials.deviceId)) -}}
{{- $problems = append $problems "pushover.credentials.secret and pushover.credentials.deviceId go together" -}}
{{- end -}}
{{- if $p.login.enabled -}}
{{- if not $v.persistence.enabled -}}
{{- $problems = append $problems "pushover.login.enabled needs persistence.enabled: a device whose id is lost keeps its name on the account for ever" -}}
{{- end -}}
{{- if not (or $p.login.password $p.login.existingSecret) -}}
{{- $problems = append $problems "pushover.login.enabled needs pushover.login.password or pushover.login.existingSecret" -}}
{{- end -}}
{{- if not (or $p.login.email (and $p.login.existingSecret $p.login.emailKey)) -}}
{{- $problems = append $problems "pushover.login.enabled needs pushover.login.email, or pushover.login.emailKey with pushover.login.existingSecret" -}}
{{- end -}}
{{- end -}}
{{- if and $p.e2ee.keys $p.e2ee.existingSecret -}}
{{- $problems = append $problems "pushover.e2ee.keys and pushover.e2ee.existingSecret exclude each other" -}}
{{- end -}}
{{- if and (or (hasPrefix "http://" $p.apiUrl) (hasPrefix "ws://" $p.streamUrl)) (not $p.allowPlaintext) -}}
{{- $problems = append $problems "pushover.apiUrl and pushover.streamUrl without TLS need pushover.allowPlaintext; for tests only" -}}
{{- end -}}
{{- if eq $v.sink "nats" -}}
{{- if and (include "pushover-connector.embedded" .) (not $v.persistence.enabled) -}}
{{- $problems = append $problems "nats.url is empty, which means a server inside the connector: it needs persistence.enabled" -}}
{{- end -}}
{{- with $v.nats.auth -}}
{{- if and .type (not (or .existingSecret .value)) -}}
{{- $problems = append $problems (printf "nats.auth.type %s needs nats.auth.existingSecret or nats.auth.value" .type) -}}
{{- end -}}
{{- if and (not .type) (or .existingSecret .value) -}}
{{- $problems = append $problems "nats.auth.existingSecret and nats.auth.value need nats.auth.type" -}}
{{- end -}}
{{- if and (eq .type "password") (not (or .user (and .existingSecret .userKey))) -}}
{{- $problems = append $problems "nats.auth.type password needs nats.auth.user, or nats.auth.userKey with nats.auth.existingSecret" -}}
{{- end -}}
{{- if and (not $v.nats.url) (has .type (list "creds" "nkey")) -}}
{{- $problems = append $problems (printf "nats.auth.type %s is for an external server; the one inside the connector takes token and password" .type) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if eq $v.sink "kafka" -}}
{{- if not $v.kafka.brokers -}}
{{- $problems = append $problems "sink kafka needs kafka.brokers" -}}
{{- end -}}
{{- with $v.kafka.sasl -}}
{{- if and (eq .mechanism "OAUTHBEARER") .oauth.tokenUrl (not .oauth.clientId) -}}
{{- $problems = append $problems "kafka.sasl.oauth.tokenUrl needs kafka.sasl.oauth.clientId" -}}
{{- end -}}
{{- if and (eq .mechanism "OAUTHBEARER") (not .oauth.tokenUrl) (not .existingSecret) -}}
{{- $problems = append $problems "kafka.sasl.mechanism OAUTHBEARER needs kafka.sasl.oauth.tokenUrl, or kafka.sasl.existingSecret with the token" -}}
{{- end -}}
{{- if and (eq .mechanism "OAUTHBEARER") .oauth.tokenUrl (not .existingSecret) (not .oauth.clientSecret) -}}
{{- $problems = append $problems "kafka.sasl.oauth.tokenUrl needs kafka.sasl.oauth.clientSecret or kafka.sasl.existingSecret" -}}
{{- end -}}
{{- if and .mechanism (ne .mechanism "OAUTHBEARER") -}}
{{- if not (or .password .existingSecret) -}}
{{- $problems = append $problems (printf "kafka.sasl.mechanism %s needs kafka.sasl.password or kafka.sasl.existingSecret" .mechanism) -}}
{{- end -}}
{{- if not (or .username (and .existingSecret .usernameKey)) -}}
{{- $problems = append $problems (printf "kafka.sasl.mechanism %s needs kafka.sasl.username, or kafka.sasl.usernameKey with kafka.sasl.existingSecret" .mechanism) -}}
{{- end -}}
{{- end -}}
{{- if and (not .mechanism) (or .username .password .existingSecret) -}}
{{- $problems = append $problems "kafka.sasl.username, password and existingSecret need kafka.sasl.mechanism" -}}
{{- end -}}
{{- end -}}
{{- if and (not $v.kafka.tls.enabled) (or $v.kafka.tls.existingSecret $v.kafka.tls.ca $v.kafka.tls.cert) -}}
{{- $problems = append $problems "kafka.tls.existingSecret, ca and cert need kafka.tls.enabled" -}}
{{- end -}}
{{- end -}}
{{- range $bus := list "nats" "kafka" -}}
{{- with (index $v $bus).tls -}}
{{- if ne (empty .cert) (empty .key) -}}
{{- $problems = append $problems (printf "%s.tls.cert and %s.tls.key go together" $bus $bus) -}}
{{- end -}}
{{- if ne (empty .certKey) (empty .keyKey) -}}
{{- $problems = append $problems (printf "%s.tls.certKey and %s.tls.keyKey go together" $bus $bus) -}}
{{- end -}}
{{- if and (not .existingSecret) (or .caKey .certKey) -}}
{{- $problems = append $problems (printf "%s.tls.caKey and certKey need %s.tls.existingSecret" $bus $bus) -}}
{{- end -}}
{{- if and .existingSecret (not (or .caKey .certKey)) -}}
{{- $problems = append $problems (printf "%s.tls.existingSecret needs %s.tls.caKey, or certKey and keyKey" $bus $bus) -}}
{{- end -}}
{{- if or (and .ca .caKey) (and .cert .certKey) -}}
{{- $problems = append $problems (printf "%s.tls: a certificate is given both as a value and as a key of existingSecret; keep one" $bus) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if le (int $v.terminationGracePeriodSeconds) 20 -}}
{{- $problems = append $problems "terminationGracePeriodSeconds must exceed 20, the seconds that the connector takes at most to finish" -}}
{{- end -}}
{{- if and $v.metrics.serviceMonitor.enabled $v.metrics.podMonitor.enabled -}}
{{- $problems = append $problems "metrics.serviceMonitor.enabled and metrics.podMonitor.enabled would scrape everything twice; keep one" -}}
{{- end -}}
{{- if $problems -}}
{{- fail (printf "\n\nvalues of %s:\n  - %s\n" .Chart.Name (join "\n  - " $problems)) -}}
{{- end -}}
{{- end -}}
