{{/* The name of every object. */}}
{{- define "sidestep.name" -}}
{{- if contains "sidestep" .Release.Name }}{{ .Release.Name | trunc 63 | trimSuffix "-" }}{{ else }}{{ printf "%s-sidestep" .Release.Name | trunc 63 | trimSuffix "-" }}{{ end }}
{{- end }}

{{/* The labels that never change. */}}
{{- define "sidestep.selector" -}}
app.kubernetes.io/name: sidestep
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "sidestep.labels" -}}
{{ include "sidestep.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "sidestep.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}{{ else }}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{/* The configuration file. Strings, numbers, booleans and lists of them are written alike in JSON and in TOML. */}}
{{- define "sidestep.config" -}}
{{- range $name, $value := .Values.settings }}
{{ $name }} = {{ toJson $value }}
{{- end }}
{{- if .Values.metrics.enabled }}
{{- $address := .Values.metrics.address }}
metrics = {{ printf "%s:%d" (ternary (printf "[%s]" $address) $address (contains ":" $address)) (int .Values.metrics.port) | quote }}
{{- end }}
{{- end }}
