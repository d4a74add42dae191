{{/* Short enough for every suffix: a StatefulSet's revision label is its name, a hash, and 63 characters at most. */}}
{{- define "writeback.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 39 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 39 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The helpers below take a dict: root (the chart's scope), component, values (the component's own). */}}

{{- define "writeback.name" -}}
{{ include "writeback.fullname" .root }}-{{ .component }}
{{- end -}}

{{- define "writeback.selectorLabels" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "writeback.labels" -}}
{{ include "writeback.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "writeback.image" -}}
{{- $image := .values.image -}}
{{- with .root.Values.image.registry }}{{ . }}/{{ end -}}
{{ $image.repository }}{{ if $image.digest }}@{{ $image.digest }}{{ else }}:{{ default .root.Chart.AppVersion $image.tag }}{{ end -}}
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
{{- with default $broker.sasl.existingSecret .values.saslSecret }}
- name: {{ $prefix }}SASL__MECHANISM
  value: {{ $broker.sasl.mechanism }}
{{ include "writeback.secretEnv" (dict "name" (printf "%sSASL__USERNAME" $prefix) "secret" . "key" $broker.sasl.usernameKey) }}
{{ include "writeback.secretEnv" (dict "name" (printf "%sSASL__PASSWORD" $prefix) "secret" . "key" $broker.sasl.passwordKey) }}
{{- end }}
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
{{ include "writeback.secretEnv" (dict "name" (printf "%sPASSWORD" $prefix) "secret" . "key" $registry.passwordKey) }}
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
- name: WRITER_DATAVERSE__URL
  value: {{ $writer.dataverse.url | quote }}
{{- if $writer.identitiesSecret.name }}
{{ include "writeback.secretEnv" (dict "name" "WRITER_IDENTITIES" "secret" $writer.identitiesSecret.name "key" $writer.identitiesSecret.key) }}
{{- else }}
{{- $identities := list }}
{{- range $writer.identities }}
{{- $identity := dict "kind" .kind }}
{{- with .clientId }}{{ $_ := set $identity "client_id" . }}{{ end }}
{{- with .tenantId }}{{ $_ := set $identity "tenant_id" . }}{{ end }}
{{- $identities = append $identities $identity }}
{{- end }}
- name: WRITER_IDENTITIES
  value: {{ $identities | toJson | quote }}
{{- end }}
- name: WRITER_MAPPING_FILE
  value: /etc/writeback/mapping/mapping.json
- name: WRITER_FLOW__STOP_WITHIN_S
  value: {{ $writer.stopWithinSeconds | quote }}
{{- end -}}

{{/* Truthy if the pod signs in by workload identity. */}}
{{- define "writeback.usesWorkloadIdentity" -}}
{{- range .values.identities }}{{ if eq .kind "workload" }}true{{ end }}{{ end -}}
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
{{- if and .Values.broker.caSecret.name (not .Values.broker.tls) }}{{ fail "broker.caSecret is given but broker.tls is false; switch tls on or remove caSecret" }}{{ end }}
{{- end -}}
