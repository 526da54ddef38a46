{{- define "hookkeeper.fullname" -}}
{{- ternary .Release.Name (printf "%s-hookkeeper" .Release.Name) (contains "hookkeeper" .Release.Name) | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{- define "hookkeeper.version" -}}
{{- .Values.image.tag | default .Chart.AppVersion -}}
{{- end }}

{{- define "hookkeeper.selector" -}}
app.kubernetes.io/name: hookkeeper
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "hookkeeper.labels" -}}
{{ include "hookkeeper.selector" . }}
app.kubernetes.io/version: {{ include "hookkeeper.version" . | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* Written into each pod: hooks run before a ConfigMap of this release would exist. */}}
{{- define "hookkeeper.env" -}}
{{- $env := dict
  "HOOKKEEPER_HOST" "0.0.0.0"
  "HOOKKEEPER_PORT" "8080"
  "HOOKKEEPER_LOG_FORMAT" "json"
  "HOOKKEEPER_METRICS_ADDRESS" "0.0.0.0:9464"
  "HOOKKEEPER_DEPLOYMENT_VERSION" (include "hookkeeper.version" .)
  "TEMPORAL_ADDRESS" .Values.temporal.address
  "TEMPORAL_NAMESPACE" .Values.temporal.namespace
}}
{{- if .Values.worker.controller.enabled }}
{{- /* As the controller calls the worker deployment, which it also tells the workers. */}}
{{- $_ := set $env "TEMPORAL_DEPLOYMENT_NAME" (printf "%s/%s-worker" .Release.Namespace (include "hookkeeper.fullname" .)) }}
{{- end }}
{{- with .Values.temporal.tls }}
{{- if or .enabled .secretName }}{{ $_ := set $env "TEMPORAL_TLS" "true" }}{{ end }}
{{- if .secretName }}
{{- $_ := set $env "TEMPORAL_TLS_CLIENT_CERT_PATH" "/etc/temporal/tls.crt" }}
{{- $_ := set $env "TEMPORAL_TLS_CLIENT_KEY_PATH" "/etc/temporal/tls.key" }}
{{- if .ca }}{{ $_ := set $env "TEMPORAL_TLS_SERVER_CA_CERT_PATH" "/etc/temporal/ca.crt" }}{{ end }}
{{- end }}
{{- if .serverName }}{{ $_ := set $env "TEMPORAL_TLS_SERVER_NAME" .serverName }}{{ end }}
{{- end }}
{{- range $name, $value := mergeOverwrite $env .Values.settings }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}

{{/* A pod of one container. Arguments: root, component, pod and container (further fields); optional: secretName. */}}
{{- define "hookkeeper.pod" -}}
{{- $values := .root.Values -}}
metadata:
  labels:
    {{- include "hookkeeper.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
    {{- with $values.podLabels }}{{ toYaml . | nindent 4 }}{{ end }}
  {{- with $values.podAnnotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ $values.serviceAccountName }}
  automountServiceAccountToken: false
  # A service named `hookkeeper` would set HOOKKEEPER_PORT.
  enableServiceLinks: false
  {{- with $values.imagePullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $values.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .pod }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    seccompProfile: {type: RuntimeDefault}
  containers:
    - name: {{ .component }}
      image: "{{ $values.image.repository }}{{ with $values.image.digest }}@{{ . }}{{ else }}:{{ include "hookkeeper.version" $.root }}{{ end }}"
      imagePullPolicy: {{ $values.image.pullPolicy }}
      args: [{{ .component }}]
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      envFrom:
        - secretRef: {name: {{ required "secretName: an existing Secret with HOOKKEEPER_ADMIN_KEY and HOOKKEEPER_DATABASE_URL" $values.secretName }}}
        {{- with .secretName }}
        - secretRef: {name: {{ . }}}
        {{- end }}
      env:
        {{- include "hookkeeper.env" .root | trim | nindent 8 }}
      {{- toYaml .container | nindent 6 }}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        {{- if $values.temporal.tls.secretName }}
        - {name: temporal-tls, mountPath: /etc/temporal, readOnly: true}
        {{- end }}
        {{- with $values.volumeMounts }}{{ toYaml . | nindent 8 }}{{ end }}
  volumes:
    # Only a webhook's own certificate is written, for a moment, because OpenSSL reads it from a file.
    - name: tmp
      emptyDir: {medium: Memory, sizeLimit: 64Mi}
    {{- with $values.temporal.tls.secretName }}
    - name: temporal-tls
      secret: {secretName: {{ . }}, defaultMode: 0440}
    {{- end }}
    {{- with $values.volumes }}{{ toYaml . | nindent 4 }}{{ end }}
{{- end }}

{{/* Scheduling of a replicated pod: on different nodes if there are several. */}}
{{- define "hookkeeper.affinity" -}}
{{- with (index .root.Values .component).affinity }}
{{- toYaml . }}
{{- else -}}
podAntiAffinity:
  preferredDuringSchedulingIgnoredDuringExecution:
    - weight: 100
      podAffinityTerm:
        topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            {{- include "hookkeeper.selector" .root | nindent 12 }}
            app.kubernetes.io/component: {{ .component }}
{{- end }}
{{- end }}

{{/* The pod of API or worker: ports, probes, time to stop. */}}
{{- define "hookkeeper.process" -}}
{{- $values := index .root.Values .component -}}
{{- $affinity := include "hookkeeper.affinity" . | fromYaml -}}
{{- $pod := dict "terminationGracePeriodSeconds" $values.terminationGracePeriodSeconds "affinity" $affinity -}}
{{- $container := dict "resources" $values.resources -}}
{{- $metrics := dict "name" "metrics" "containerPort" 9464 -}}
{{- if eq .component "api" -}}
{{- $alive := dict "path" "/healthz" "port" "http" -}}
{{- $ready := dict "path" "/readyz" "port" "http" -}}
{{- $_ := set $container "ports" (list (dict "name" "http" "containerPort" 8080) $metrics) -}}
{{- $_ := set $container "startupProbe" (dict "httpGet" $alive "periodSeconds" 2 "timeoutSeconds" 5 "failureThreshold" 60) -}}
{{- $_ := set $container "livenessProbe" (dict "httpGet" $alive "periodSeconds" 10 "timeoutSeconds" 5 "failureThreshold" 6) -}}
{{- $_ := set $container "readinessProbe" (dict "httpGet" $ready "periodSeconds" 5 "timeoutSeconds" 5 "failureThreshold" 3) -}}
{{- else -}}
{{- $alive := dict "path" "/healthz" "port" "metrics" -}}
{{- $_ := set $container "ports" (list $metrics) -}}
{{- $_ := set $container "startupProbe" (dict "httpGet" $alive "periodSeconds" 2 "timeoutSeconds" 5 "failureThreshold" 60) -}}
{{- $_ := set $container "livenessProbe" (dict "httpGet" $alive "periodSeconds" 20 "timeoutSeconds" 10 "failureThreshold" 6) -}}
{{- end -}}
{{- include "hookkeeper.pod" (dict "root" .root "component" .component "pod" $pod "container" $container) -}}
{{- end }}
