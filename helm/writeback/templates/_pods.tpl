{{/* What pods have in common. The helpers take a dict: root, component, values (the component's own). */}}

{{/* A pod's labels: the selectors', the webhook's for workload identity, and the user's. No key comes twice. */}}
{{- define "writeback.podLabels" -}}
{{- $own := fromYaml (include "writeback.selectorLabels" .) -}}
{{- $webhook := dict -}}
{{- if include "writeback.usesWorkloadIdentity" . }}{{ $_ := set $webhook "azure.workload.identity/use" "true" }}{{ end -}}
{{- merge $own (default dict .values.podLabels) .root.Values.commonLabels $webhook | toYaml -}}
{{- end -}}

{{/* Truthy if the pod signs in by workload identity. `users` are those of `values` if it is not given. */}}
{{- define "writeback.usesWorkloadIdentity" -}}
{{- if eq (default "" .root.Values.broker.settings.SASL__TOKEN__KIND) "workload" }}true{{ end -}}
{{- range (default .values .users).identities }}{{ if eq .kind "workload" }}true{{ end }}{{ end -}}
{{- end -}}

{{/* The beginning of a pod's spec. */}}
{{- define "writeback.podBasics" -}}
automountServiceAccountToken: false
# Without this, Kubernetes sets a variable for every Service, and the programs refuse WRITER_PORT as a misspelt setting.
enableServiceLinks: false
securityContext: {{- include "writeback.podSecurityContext" .root | nindent 2 }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Pods of one component over zones and nodes. A constraint without a labelSelector is about the component's pods. */}}
{{- define "writeback.spread" -}}
{{- $all := list -}}
{{- $ours := dict "labelSelector" (dict "matchLabels" (fromYaml (include "writeback.selectorLabels" .))) -}}
{{- range .values.topologySpreadConstraints }}{{ $all = append $all (merge (deepCopy .) $ours) }}{{ end -}}
{{- toYaml $all -}}
{{- end -}}

{{/* Variables as a list without doubles. `own`: YAML text; `extra`: the user's list; `where`: whose values these are. */}}
{{- define "writeback.env" -}}
{{- $seen := dict -}}
{{- $all := concat (fromYamlArray .own) .extra -}}
{{- range $all -}}
{{- if hasKey $seen .name }}{{ fail (printf "%s.extraEnv sets %s, which another value of this chart sets already; remove one" $.where .name) }}{{ end -}}
{{- $_ := set $seen .name true -}}
{{- end -}}
{{- toYaml $all -}}
{{- end -}}

{{/* Where a service listens. Takes its component. */}}
{{- define "writeback.port" -}}
{{ get (dict "planner" "9101" "writer" "9102") . }}
{{- end -}}

{{/* The variables of planner or writer. */}}
{{- define "writeback.serviceEnv" -}}
{{- $root := .root -}}
{{- $variables := .variables -}}
- name: {{ $variables }}_INSTANCE_ID
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: {{ $variables }}_ENDPOINT_PORT
  value: {{ include "writeback.port" .component | quote }}
- name: {{ $variables }}_LOG_FORMAT
  value: json
- name: {{ $variables }}_LOG_LEVEL
  value: {{ $root.Values.logLevel }}
{{ include "writeback.brokerEnv" . }}
{{- with include "writeback.registryEnv" . | trim }}{{ . | nindent 0 }}{{ end }}
{{ include (printf "writeback.%sEnv" .component) . }}
{{- with $root.Values.tracing.endpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- range $name, $value := .values.settings }}
- name: {{ $variables }}_{{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end -}}

{{/*
Secrets that a program reads as files, as YAML: the volume's name to the Secret's, which may be empty. They are files, and not
variables, so that a rotated one is noticed: the services then end, and start again with it.
*/}}
{{- define "writeback.brokerFiles" -}}
broker-ca: {{ .root.Values.broker.caSecret.name | quote }}
broker-user: {{ include "writeback.brokerSecret" . | quote }}
broker-certificate: {{ include "writeback.brokerCertificate" . | quote }}
{{- end -}}

{{/* Those of the broker, of the registry, and of the application users: `users`, or those of `values` if it is not given. */}}
{{- define "writeback.files" -}}
{{ include "writeback.brokerFiles" . }}
{{- with .root.Values.registry }}
{{- if .url }}
registry-ca: {{ .caSecret.name | quote }}
registry-user: {{ .existingSecret | quote }}
{{- end }}
{{- end }}
{{- with (default .values .users).identitiesSecret }}
identities: {{ .name | quote }}
{{- end }}
{{- end -}}

{{/* Where such files are mounted. Takes the YAML. */}}
{{- define "writeback.fileMounts" -}}
{{- range $name, $secret := fromYaml . }}
{{- if $secret }}
- { name: {{ $name }}, mountPath: /etc/writeback/{{ $name }}, readOnly: true }
{{- end }}
{{- end }}
{{- end -}}

{{/* Their volumes. Takes the YAML. */}}
{{- define "writeback.fileVolumes" -}}
{{- range $name, $secret := fromYaml . }}
{{- if $secret }}
- name: {{ $name }}
  secret: { secretName: {{ $secret }}, defaultMode: 0440 }
{{- end }}
{{- end }}
{{- end -}}

{{- define "writeback.mappingVolume" -}}
- name: mapping
  configMap:
    name: {{ default (printf "%s-mapping" (include "writeback.fullname" .)) .Values.mapping.existingConfigMap }}
    items:
      - { key: {{ ternary .Values.mapping.key "mapping.json" (ne .Values.mapping.existingConfigMap "") }}, path: mapping.json }
{{- end -}}

{{/*
Where a program's variables (`env`) lead, as YAML: ports of every URL, those of token services and of Dataverse if somebody
signs in (`httpsPorts`), and whether tokens come from the machine's metadata service.
*/}}
{{- define "writeback.egress" -}}
{{- $ports := list -}}
{{- $metadata := false -}}
{{- range .env -}}
{{- $value := toString (default "" .value) -}}
{{- if regexMatch "^https?://" $value }}{{ $ports = append $ports (include "writeback.portOf" $value) }}{{ end -}}
{{- if regexMatch "_(IDENTITIES|SASL__TOKEN__KIND)$" .name -}}
{{- $ports = concat $ports $.httpsPorts -}}
{{- if regexMatch "managed|msk" $value }}{{ $metadata = true }}{{ end -}}
{{- end -}}
{{- end -}}
{{- dict "ports" $ports "metadata" $metadata | toYaml -}}
{{- end -}}
