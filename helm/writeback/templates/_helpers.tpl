{{/*
A name that the API server takes for every object, with every suffix of this chart: at most 38 characters, a letter first,
no dot. A StatefulSet's revision label is its name, a hash, and 63 characters at most. A name that had to be changed ends
with a hash of the one that was wanted, so that two long releases in one namespace do not get the same.
*/}}
{{- define "writeback.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $wanted := .Values.fullnameOverride | default (ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name)) -}}
{{- if regexMatch "^[a-z]([-a-z0-9]{0,36}[a-z0-9])?$" $wanted -}}
{{- $wanted -}}
{{- else -}}
{{- $plain := regexReplaceAll "[^a-z0-9]+" $wanted "-" -}}
{{- $plain = ternary (printf "w%s" $plain) $plain (regexMatch "^[^a-z]" $plain) -}}
{{- printf "%s-%s" ($plain | trunc 29 | trimSuffix "-") (sha256sum $wanted | trunc 8) -}}
{{- end -}}
{{- end -}}

{{/* The helpers below take a dict: root (the chart's scope), component, values (the component's own). */}}

{{- define "writeback.name" -}}
{{ include "writeback.fullname" .root }}-{{ .component }}
{{- end -}}

{{/* At most 63 characters, the last of them a letter or a digit. */}}
{{- define "writeback.labelValue" -}}
{{- regexReplaceAll "[-_.]+$" (regexReplaceAll "[^A-Za-z0-9._-]" . "_" | trunc 63) "" -}}
{{- end -}}

{{/* What every object of the release has. Takes the chart's scope. */}}
{{- define "writeback.releaseLabels" -}}
app.kubernetes.io/name: {{ include "writeback.labelValue" (default .Chart.Name .Values.nameOverride) }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "writeback.selectorLabels" -}}
{{ include "writeback.releaseLabels" .root }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Labels of an object: the chart's, commonLabels, and `extra`. No key comes twice; the chart's own win. */}}
{{- define "writeback.labels" -}}
{{- $own := fromYaml (include "writeback.selectorLabels" .) -}}
{{- $_ := set $own "app.kubernetes.io/version" (include "writeback.labelValue" .root.Chart.AppVersion) -}}
{{- $_ := set $own "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- $_ := set $own "helm.sh/chart" (include "writeback.labelValue" (printf "%s-%s" .root.Chart.Name .root.Chart.Version)) -}}
{{- merge $own (default dict .extra) .root.Values.commonLabels | toYaml -}}
{{- end -}}

{{- define "writeback.image" -}}
{{- $image := .values.image -}}
{{- with .root.Values.image.registry }}{{ . }}/{{ end -}}
{{ $image.repository }}{{ if $image.digest }}@{{ $image.digest }}{{ else }}:{{ default .root.Chart.AppVersion $image.tag }}{{ end -}}
{{- end -}}

{{/* The port of a URL. */}}
{{- define "writeback.portOf" -}}
{{- $url := urlParse . -}}
{{- regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) | default (ternary "443" "80" (eq $url.scheme "https")) -}}
{{- end -}}

{{/* The KafkaUser of a program, whose Secret has the same name; empty if Strimzi makes none. */}}
{{- define "writeback.kafkaUser" -}}
{{- if .root.Values.strimzi.users -}}
{{ include "writeback.fullname" .root }}-{{ ternary .component "operator" (has .component (list "planner" "writer" "topics-check" "topics-create")) }}
{{- end -}}
{{- end -}}

{{- define "writeback.serviceAccountName" -}}
{{- if .values.serviceAccount.create -}}
{{ default (include "writeback.name" .) .values.serviceAccount.name }}
{{- else -}}
{{ default "default" .values.serviceAccount.name }}
{{- end -}}
{{- end -}}

{{- define "writeback.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "writeback.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "writeback.secretEnv" -}}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      name: {{ .secret }}
      key: {{ .key }}
{{- end -}}

{{/* The connection to Kafka, as variables of PLANNER_, WRITER_ or WRITEBACK_. */}}
{{- define "writeback.brokerEnv" -}}
{{- $broker := .root.Values.broker -}}
{{- $prefix := printf "%s_BROKER__" .variables -}}
- name: {{ $prefix }}BOOTSTRAP_SERVERS
  value: {{ $broker.bootstrapServers | quote }}
- name: {{ $prefix }}TLS
  value: {{ $broker.tls | quote }}
{{- if $broker.caSecret.name }}
- name: {{ $prefix }}CA_FILE
  value: /etc/writeback/broker-ca/{{ $broker.caSecret.key }}
{{- end }}
{{- with $broker.topicPrefix }}
- name: {{ $prefix }}TOPIC_PREFIX
  value: {{ . | quote }}
{{- end }}
{{- if include "writeback.brokerCertificate" . }}
- name: {{ $prefix }}CERTIFICATE_FILE
  value: /etc/writeback/broker-certificate/{{ ternary "user.crt" $broker.clientCertificate.certificateKey .root.Values.strimzi.users }}
- name: {{ $prefix }}KEY_FILE
  value: /etc/writeback/broker-certificate/{{ ternary "user.key" $broker.clientCertificate.privateKey .root.Values.strimzi.users }}
{{- with ternary "" $broker.clientCertificate.passwordKey .root.Values.strimzi.users }}
- name: {{ $prefix }}KEY_PASSWORD_FILE
  value: /etc/writeback/broker-certificate/{{ . }}
{{- end }}
{{- end }}
{{- $secret := include "writeback.brokerSecret" . }}
{{- if and $secret .root.Values.strimzi.users }}
- name: {{ $prefix }}SASL__MECHANISM
  value: SCRAM-SHA-512
- name: {{ $prefix }}SASL__USERNAME
  value: {{ $secret }}
- name: {{ $prefix }}SASL__PASSWORD_FILE
  value: /etc/writeback/broker-user/password
{{- else if eq $broker.sasl.mechanism "OAUTHBEARER" }}
- name: {{ $prefix }}SASL__MECHANISM
  value: OAUTHBEARER
{{- if $secret }}
- name: {{ $prefix }}SASL__TOKEN__CLIENT_SECRET_FILE
  value: /etc/writeback/broker-user/{{ $broker.sasl.passwordKey }}
{{- end }}
{{- else if $secret }}
- name: {{ $prefix }}SASL__MECHANISM
  value: {{ $broker.sasl.mechanism }}
{{- with default $broker.sasl.username .values.saslUsername }}
- name: {{ $prefix }}SASL__USERNAME
  value: {{ . | quote }}
{{- else }}
{{ include "writeback.secretEnv" (dict "name" (printf "%sSASL__USERNAME" $prefix) "secret" $secret "key" $broker.sasl.usernameKey) }}
{{- end }}
- name: {{ $prefix }}SASL__PASSWORD_FILE
  value: /etc/writeback/broker-user/{{ $broker.sasl.passwordKey }}
{{- end }}
{{- range $name, $value := merge (dict) (default dict .values.brokerSettings) $broker.settings }}
- name: {{ $prefix }}{{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end -}}

{{/* The Secret that a program signs in to the broker with: the user's of Strimzi, its own, or everybody's. */}}
{{- define "writeback.brokerSecret" -}}
{{- if .root.Values.strimzi.users -}}
{{- if eq .root.Values.strimzi.authentication "scram-sha-512" }}{{ include "writeback.kafkaUser" . }}{{ end -}}
{{- else -}}
{{- default .root.Values.broker.sasl.existingSecret .values.saslSecret -}}
{{- end -}}
{{- end -}}

{{/* The Secret with a program's certificate for the broker: its own, or everybody's. */}}
{{- define "writeback.brokerCertificate" -}}
{{- if .root.Values.strimzi.users -}}
{{- if eq .root.Values.strimzi.authentication "tls" }}{{ include "writeback.kafkaUser" . }}{{ end -}}
{{- else -}}
{{- default .root.Values.broker.clientCertificate.secret .values.certificateSecret -}}
{{- end -}}
{{- end -}}

{{- define "writeback.registryEnv" -}}
{{- $registry := .root.Values.registry -}}
{{- $prefix := printf "%s_REGISTRY__" .variables -}}
{{- if $registry.url }}
- name: {{ $prefix }}URL
  value: {{ $registry.url | quote }}
- name: {{ $prefix }}REGISTER_SCHEMAS
  value: {{ $registry.registerSchemas | quote }}
{{- if $registry.caSecret.name }}
- name: {{ $prefix }}CA_FILE
  value: /etc/writeback/registry-ca/{{ $registry.caSecret.key }}
{{- end }}
{{- with $registry.existingSecret }}
{{ include "writeback.secretEnv" (dict "name" (printf "%sUSERNAME" $prefix) "secret" . "key" $registry.usernameKey) }}
- name: {{ $prefix }}PASSWORD_FILE
  value: /etc/writeback/registry-user/{{ $registry.passwordKey }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "writeback.plannerEnv" -}}
- name: PLANNER_MAPPING_FILE
  value: /etc/writeback/mapping/mapping.json
{{- if .root.Values.planner.pins.onDisk }}
- name: PLANNER_PIN_STORE
  value: rocksdb:///var/lib/writeback/pins
{{- end }}
{{- end -}}

{{- define "writeback.writerEnv" -}}
{{- $writer := .root.Values.writer -}}
- name: WRITER_WRITE
  value: {{ $writer.write | quote }}
{{ include "writeback.dataverseEnv" (dict "root" .root "variables" "WRITER" "users" $writer) }}
- name: WRITER_MAPPING_FILE
  value: /etc/writeback/mapping/mapping.json
- name: WRITER_FLOW__STOP_WITHIN_S
  value: {{ $writer.stopWithinSeconds | quote }}
{{- end -}}

{{/* The environment and who signs in to it. `users`: values with identities and identitiesSecret. */}}
{{- define "writeback.dataverseEnv" -}}
- name: {{ .variables }}_DATAVERSE__URL
  value: {{ .root.Values.writer.dataverse.url | quote }}
{{- if .users.identitiesSecret.name }}
{{ include "writeback.secretEnv" (dict "name" (printf "%s_IDENTITIES" .variables) "secret" .users.identitiesSecret.name "key" .users.identitiesSecret.key) }}
{{- else }}
{{- $identities := list }}
{{- range .users.identities }}
{{- $identity := dict "kind" .kind }}
{{- with .clientId }}{{ $_ := set $identity "client_id" . }}{{ end }}
{{- with .tenantId }}{{ $_ := set $identity "tenant_id" . }}{{ end }}
{{- $identities = append $identities $identity }}
{{- end }}
- name: {{ .variables }}_IDENTITIES
  value: {{ $identities | toJson | quote }}
{{- end }}
{{- end -}}

{{/* Choices between two values, which a JSON schema cannot explain well. The StatefulSets call it. */}}
{{- define "writeback.refuseContradictions" -}}
{{- with .Values.mapping }}
{{- if not (or .content .existingConfigMap) }}{{ fail "the mapping is missing; give it with --set-file mapping.content=mapping.json, or name mapping.existingConfigMap" }}{{ end }}
{{- if and .content .existingConfigMap }}{{ fail "mapping.content and mapping.existingConfigMap are both given; keep one" }}{{ end }}
{{- end }}
{{- with .Values.writer }}
{{- if not (or .identities .identitiesSecret.name) }}{{ fail "the writer cannot sign in; list writer.identities, or name writer.identitiesSecret" }}{{ end }}
{{- if and .identities .identitiesSecret.name }}{{ fail "writer.identities and writer.identitiesSecret are both given; keep one" }}{{ end }}
{{- end }}
{{- with .Values.broker }}
{{- if and (or .clientCertificate.secret $.Values.planner.certificateSecret $.Values.writer.certificateSecret $.Values.ops.certificateSecret) (not .tls) }}{{ fail "a certificate for the broker is given but broker.tls is false; switch tls on or remove it" }}{{ end }}
{{- if and (eq .sasl.mechanism "OAUTHBEARER") (not (hasKey .settings "SASL__TOKEN__KIND")) }}{{ fail "broker.sasl.mechanism is OAUTHBEARER, and broker.settings does not say where tokens come from; set SASL__TOKEN__KIND there" }}{{ end }}
{{- if and (ne .sasl.mechanism "OAUTHBEARER") (hasKey .settings "SASL__TOKEN__KIND") }}{{ fail "broker.settings says where tokens come from; set broker.sasl.mechanism to OAUTHBEARER" }}{{ end }}
{{- end }}
{{- with .Values.strimzi }}
{{- if and (or .topics .users) (not .cluster) }}{{ fail "strimzi.topics or strimzi.users is true but strimzi.cluster is empty; name the Kafka object" }}{{ end }}
{{- if and .topics $.Values.topics.create.enabled }}{{ fail "strimzi.topics and topics.create.enabled are both true; keep one" }}{{ end }}
{{- if .users }}
{{- range list $.Values.planner $.Values.writer $.Values.ops $.Values.topicsCheck $.Values.topics.create (dict "saslSecret" $.Values.broker.sasl.existingSecret "certificateSecret" $.Values.broker.clientCertificate.secret) }}
{{- if or .saslSecret .certificateSecret }}{{ fail "strimzi.users is true, and a Secret for the sign-in to the broker is given too; remove it, because each program signs in as its KafkaUser" }}{{ end }}
{{- end }}
{{- if and (eq .authentication "tls") (not $.Values.broker.tls) }}{{ fail "strimzi.authentication is tls but broker.tls is false; switch it on" }}{{ end }}
{{- end }}
{{- if and .callSystems (not .users) }}{{ fail "strimzi.callSystems is given but strimzi.users is false; switch it on or remove the names" }}{{ end }}
{{- end }}
{{- if and .Values.externalSecrets.secrets (not .Values.externalSecrets.store.name) }}{{ fail "externalSecrets.secrets is given but externalSecrets.store.name is empty; name the store" }}{{ end }}
{{- with .Values.ops }}
{{- if and .identities .identitiesSecret.name }}{{ fail "ops.identities and ops.identitiesSecret are both given; keep one" }}{{ end }}
{{- end }}
{{- if and .Values.serviceMonitor.enabled .Values.podMonitor.enabled }}{{ fail "serviceMonitor and podMonitor are both enabled, and every sample would count twice; keep one" }}{{ end }}
{{- with .Values.writer.autoscaling }}
{{- if .enabled }}
{{- $partitions := int $.Values.topics.partitions }}
{{- if not $partitions }}{{ fail "writer.autoscaling is enabled but topics.partitions is 0; say how many partitions the topics have" }}{{ end }}
{{- if gt (int .maxReplicas) $partitions }}{{ fail (printf "writer.autoscaling.maxReplicas is %d and the topics have %d partitions; more writers than partitions have nothing to do" (int .maxReplicas) $partitions) }}{{ end }}
{{- if gt (int .minReplicas) (int .maxReplicas) }}{{ fail "writer.autoscaling.minReplicas is above maxReplicas; lower it" }}{{ end }}
{{- if not .prometheusUrl }}{{ fail "writer.autoscaling is enabled but prometheusUrl is empty; name the Prometheus that scrapes the writers" }}{{ end }}
{{- end }}
{{- end }}
{{- if and .Values.broker.caSecret.name (not .Values.broker.tls) }}{{ fail "broker.caSecret is given but broker.tls is false; switch tls on or remove caSecret" }}{{ end }}
{{- end -}}
