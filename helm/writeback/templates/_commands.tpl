{{/* Pods that run `writeback`. The helpers take a dict: root, component, values (.Values.ops, with its saslSecret). */}}

{{/*
Truthy if Secrets, topics, or the service account that a token is got for come with the release, so that nothing can run
before it. Takes the chart's scope.
*/}}
{{- define "writeback.dependsOnRelease" -}}
{{- $byAccount := has (default "" .Values.broker.settings.SASL__TOKEN__KIND) (list "workload" "msk") -}}
{{- if or .Values.strimzi.topics .Values.strimzi.users .Values.externalSecrets.secrets (and $byAccount .Values.ops.serviceAccount.create) }}true{{ end -}}
{{- end -}}

{{/* The consumer groups by service, without the topic prefix. Takes the chart's scope. */}}
{{- define "writeback.groups" -}}
planner: {{ dig "GROUP" "writeback-planner" .Values.planner.settings | quote }}
writer: {{ dig "CONSUMER__GROUP" "writeback-writer" .Values.writer.settings | quote }}
dryRun: {{ dig "CONSUMER__DRY_RUN_GROUP" "writeback-dry-run" .Values.writer.settings | quote }}
{{- end -}}

{{/* Who an operator's command signs in to Dataverse as: its own application users, or else the writer's. */}}
{{- define "writeback.operatorRole" -}}
{{- if or .Values.ops.identities .Values.ops.identitiesSecret.name }}operator{{ else }}writer{{ end -}}
{{- end -}}

{{- define "writeback.operatorUsers" -}}
{{- $values := ternary .Values.ops .Values.writer (eq (include "writeback.operatorRole" .) "operator") -}}
{{- pick $values "identities" "identitiesSecret" | toYaml -}}
{{- end -}}

{{/* Variables of a command that looks at everything: topics, registry, mapping and Dataverse. */}}
{{- define "writeback.operatorEnv" -}}
{{- $users := fromYaml (include "writeback.operatorUsers" .root) -}}
{{ include "writeback.brokerEnv" . }}
{{- with include "writeback.registryEnv" . | trim }}{{ . | nindent 0 }}{{ end }}
{{ include "writeback.dataverseEnv" (dict "root" .root "variables" "WRITEBACK" "users" $users) }}
- name: WRITEBACK_MAPPING_FILE
  value: /etc/writeback/mapping/mapping.json
{{- $groups := fromYaml (include "writeback.groups" .root) }}
- name: WRITEBACK_PLANNER_GROUP
  value: {{ $groups.planner | quote }}
- name: WRITEBACK_WRITER_GROUP
  value: {{ $groups.writer | quote }}
- name: WRITEBACK_DRY_RUN_GROUP
  value: {{ $groups.dryRun | quote }}
{{- range $name, $value := .root.Values.ops.settings }}
- name: WRITEBACK_{{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end -}}

{{/* The template of an operator's pod: metadata and spec. `args` or `command`; `restart`: the restart policy. */}}
{{- define "writeback.operatorPod" -}}
{{- $values := .root.Values.ops -}}
{{- $users := fromYaml (include "writeback.operatorUsers" .root) -}}
{{- $scope := merge (dict "values" $values "variables" "WRITEBACK" "users" $users) . -}}
{{- $files := include "writeback.files" $scope -}}
metadata:
  labels: {{- include "writeback.podLabels" $scope | nindent 4 }}
  {{- with $values.podAnnotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "writeback.serviceAccountName" (merge (dict "component" "ops") $scope) }}
  restartPolicy: {{ .restart }}
  {{- include "writeback.podBasics" $scope | nindent 2 }}
  containers:
    - name: writeback
      image: {{ include "writeback.image" $scope }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      {{- with .command }}
      command: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .args }}
      args: {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext: {{- include "writeback.containerSecurityContext" .root | nindent 8 }}
      env: {{- include "writeback.env" (dict "own" (include "writeback.operatorEnv" $scope) "extra" $values.extraEnv "where" "ops") | nindent 8 }}
      resources: {{- toYaml $values.resources | nindent 8 }}
      volumeMounts:
        - { name: work, mountPath: /var/lib/writeback }
        - { name: tmp, mountPath: /tmp }
        - { name: mapping, mountPath: /etc/writeback/mapping, readOnly: true }
        {{- with include "writeback.fileMounts" $files | trim }}{{ . | nindent 8 }}{{ end }}
        {{- with $values.extraVolumeMounts }}{{ toYaml . | nindent 8 }}{{ end }}
  volumes:
    - name: work
      emptyDir: { sizeLimit: {{ $values.scratch.work }} }
    - name: tmp
      emptyDir: { sizeLimit: {{ $values.scratch.tmp }} }
    {{- include "writeback.mappingVolume" .root | nindent 4 }}
    {{- with include "writeback.fileVolumes" $files | trim }}{{ . | nindent 4 }}{{ end }}
    {{- with $values.extraVolumes }}{{ toYaml . | nindent 4 }}{{ end }}
{{- end -}}

{{/* What a Job does when the command ends: an unreachable broker (69) is tried again, the rest needs a person. */}}
{{- define "writeback.failurePolicy" -}}
podFailurePolicy:
  rules:
    - action: FailJob
      onExitCodes: { operator: In, values: [1, 64, 78] }
{{- end -}}
