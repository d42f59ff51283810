{{/* What the schema cannot express: settings that need or exclude each other. All problems are reported together. */}}
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
{{- if and (not $p.login.enabled) (or $p.login.email $p.login.emailKey $p.login.password $p.login.existingSecret) -}}
{{- $problems = append $problems "pushover.login.email, emailKey, password and existingSecret need pushover.login.enabled" -}}
{{- end -}}
{{- if $p.login.enabled -}}
{{- if and $p.login.emailKey (not $p.login.existingSecret) -}}
{{- $problems = append $problems "pushover.login.emailKey needs pushover.login.existingSecret, the Secret that has the key" -}}
{{- end -}}
{{- if and $p.login.email $p.login.emailKey -}}
{{- $problems = append $problems "pushover.login.email and pushover.login.emailKey exclude each other" -}}
{{- end -}}
{{- if and $p.login.password $p.login.existingSecret -}}
{{- $problems = append $problems "pushover.login.password and pushover.login.existingSecret exclude each other" -}}
{{- end -}}
{{- if not $v.persistence.enabled -}}
{{- $problems = append $problems "pushover.login.enabled needs persistence.enabled: if the device's id is lost, its name stays taken on the account" -}}
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
{{- if and (eq $v.sink "stdout") (regexMatch "[1-9]" $v.clearDelay) -}}
{{- $problems = append $problems "clearDelay: the stdout sink cannot read back what it has printed; use nats or kafka, or set it to 0s" -}}
{{- end -}}
{{- if eq $v.sink "nats" -}}
{{- if include "pushover-connector.embedded" . -}}
{{- if not $v.persistence.enabled -}}
{{- $problems = append $problems "nats.url is empty, which means the embedded server: it needs persistence.enabled" -}}
{{- end -}}
{{- if or $v.nats.tls.existingSecret $v.nats.tls.ca $v.nats.tls.cert -}}
{{- $problems = append $problems "nats.tls is for an external server; set nats.url as well, or remove nats.tls" -}}
{{- end -}}
{{- if has $v.nats.auth.type (list "creds" "nkey") -}}
{{- $problems = append $problems (printf "nats.auth.type %s is for an external server; the embedded one accepts token and password" $v.nats.auth.type) -}}
{{- end -}}
{{- if eq (int $v.containerPort) 4222 -}}
{{- $problems = append $problems "containerPort 4222 is the port of the embedded NATS server" -}}
{{- end -}}
{{- if and $v.nats.auth.type (eq (int $v.service.port) (int $v.service.natsPort)) -}}
{{- $problems = append $problems "service.port and service.natsPort are the same" -}}
{{- end -}}
{{- else -}}
{{- /* Not shown: it may carry a password. */ -}}
{{- $bad := dict -}}
{{- range include "pushover-connector.natsUrl" . | splitList "," -}}
{{- if not (trim . | regexMatch "^(nats|tls|ws|wss)://[^@/ ]+(/[^@ ]*)?$") }}{{ $_ := set $bad "url" true }}{{ end -}}
{{- end -}}
{{- if $bad -}}
{{- $problems = append $problems "nats.url is not a list of server URLs; write each as nats://host:4222 or tls://host:4222, and put users and passwords in nats.auth" -}}
{{- end -}}
{{- end -}}
{{- if eq $v.nats.stream $v.nats.controlStream -}}
{{- $problems = append $problems (printf "nats.controlStream and nats.stream are both %s; commands need a stream of their own" $v.nats.stream) -}}
{{- end -}}
{{- with $v.nats.auth -}}
{{- if and .value .existingSecret -}}
{{- $problems = append $problems "nats.auth.value and nats.auth.existingSecret exclude each other" -}}
{{- end -}}
{{- if and .user .userKey -}}
{{- $problems = append $problems "nats.auth.user and nats.auth.userKey exclude each other" -}}
{{- end -}}
{{- if and .userKey (not .existingSecret) -}}
{{- $problems = append $problems "nats.auth.userKey needs nats.auth.existingSecret, the Secret that has the key" -}}
{{- end -}}
{{- if and (ne .type "password") (or .user .userKey) -}}
{{- $problems = append $problems "nats.auth.user and nats.auth.userKey need nats.auth.type password" -}}
{{- end -}}
{{- if and .type (not (or .existingSecret .value (include "pushover-connector.generatesNatsAuth" $))) -}}
{{- $problems = append $problems (printf "nats.auth.type %s needs nats.auth.existingSecret or nats.auth.value" .type) -}}
{{- end -}}
{{- if and (not .type) (or .existingSecret .value) -}}
{{- $problems = append $problems "nats.auth.existingSecret and nats.auth.value need nats.auth.type" -}}
{{- end -}}
{{- if and (eq .type "password") (not (or (include "pushover-connector.natsUser" $) (and .existingSecret .userKey))) -}}
{{- $problems = append $problems "nats.auth.type password needs nats.auth.user, or nats.auth.userKey with nats.auth.existingSecret" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if eq $v.sink "kafka" -}}
{{- if not (include "pushover-connector.kafkaBrokers" .) -}}
{{- $problems = append $problems "sink kafka needs kafka.brokers" -}}
{{- else -}}
{{- range include "pushover-connector.kafkaBrokers" . | splitList "," -}}
{{- if not (trim . | regexMatch "^[^/@ ]+:[0-9]+$") -}}
{{- $problems = append $problems (printf "kafka.brokers: %s is not host:port" (trim . | quote)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $seen := dict -}}
{{- range $key := list "topic" "controlTopic" "resultTopic" "deadletterTopic" -}}
{{- $topic := index $v.kafka $key -}}
{{- with get $seen $topic -}}
{{- $problems = append $problems (printf "kafka.%s: %s is already kafka.%s; each kind of event needs a topic of its own" $key (quote $topic) .) -}}
{{- else -}}
{{- $_ := set $seen $topic $key -}}
{{- end -}}
{{- end -}}
{{- with $v.kafka.sasl -}}
{{- if and .existingSecret (or .password .oauth.clientSecret) -}}
{{- $problems = append $problems "kafka.sasl.password and kafka.sasl.oauth.clientSecret exclude kafka.sasl.existingSecret" -}}
{{- end -}}
{{- if and .username .usernameKey -}}
{{- $problems = append $problems "kafka.sasl.username and kafka.sasl.usernameKey exclude each other" -}}
{{- end -}}
{{- if and .usernameKey (not .existingSecret) -}}
{{- $problems = append $problems "kafka.sasl.usernameKey needs kafka.sasl.existingSecret, the Secret that has the key" -}}
{{- end -}}
{{- if and (ne .mechanism "OAUTHBEARER") (or .oauth.tokenUrl .oauth.clientId .oauth.clientSecret .oauth.scope) -}}
{{- $problems = append $problems "kafka.sasl.oauth.tokenUrl, clientId, clientSecret and scope need kafka.sasl.mechanism OAUTHBEARER" -}}
{{- end -}}
{{- if and (eq .mechanism "OAUTHBEARER") (or .username .usernameKey .password) -}}
{{- $problems = append $problems "kafka.sasl.username, usernameKey and password are not for kafka.sasl.mechanism OAUTHBEARER" -}}
{{- end -}}
{{- if and (eq .mechanism "OAUTHBEARER") (not .oauth.tokenUrl) (or .oauth.clientId .oauth.clientSecret .oauth.scope) -}}
{{- $problems = append $problems "kafka.sasl.oauth.clientId, clientSecret and scope need kafka.sasl.oauth.tokenUrl" -}}
{{- end -}}
{{- if and (hasPrefix "http://" .oauth.tokenUrl) (not (regexMatch "^http://(localhost|127[.][0-9.]+|\\[::1\\])(:[0-9]+)?(/|$)" .oauth.tokenUrl)) -}}
{{- $problems = append $problems "kafka.sasl.oauth.tokenUrl must be https: the client secret is sent there" -}}
{{- end -}}
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
{{- $problems = append $problems "terminationGracePeriodSeconds must be more than 20, the seconds in which the connector shuts down" -}}
{{- end -}}
{{- if and $v.metrics.serviceMonitor.enabled $v.metrics.podMonitor.enabled -}}
{{- $problems = append $problems "metrics.serviceMonitor.enabled and metrics.podMonitor.enabled would scrape everything twice; keep one" -}}
{{- end -}}
{{- if $v.podDisruptionBudget.enabled -}}
{{- if not (or (include "pushover-connector.given" $v.podDisruptionBudget.maxUnavailable) (include "pushover-connector.given" $v.podDisruptionBudget.minAvailable)) -}}
{{- $problems = append $problems "podDisruptionBudget.enabled needs podDisruptionBudget.maxUnavailable or podDisruptionBudget.minAvailable" -}}
{{- end -}}
{{- end -}}
{{- if not (include "pushover-connector.fullname" . | regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$") -}}
{{- $problems = append $problems (printf "%s cannot be the name of a Service, which begins with a letter and has lower-case letters, digits and -; set fullnameOverride" (include "pushover-connector.fullname" . | quote)) -}}
{{- end -}}
{{- if $problems -}}
{{- fail (printf "\n\nvalues of %s:\n  - %s\n" .Chart.Name (join "\n  - " $problems)) -}}
{{- end -}}
{{- end -}}
