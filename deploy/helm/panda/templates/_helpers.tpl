{{- define "panda.name" -}}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{- end -}}

{{/* For what has no namespace. */}}
{{- define "panda.clusterName" -}}
{{- if eq .Release.Name .Release.Namespace }}{{ include "panda.name" . }}{{ else }}{{ printf "%s-%s" .Release.Namespace (include "panda.name" .) | trunc 60 | trimSuffix "-" }}{{ end -}}
{{- end -}}

{{- define "panda.buildNamespace" -}}{{ .Values.builder.namespace | default (printf "%s-build" .Release.Namespace) }}{{- end -}}
{{- define "panda.builderHost" -}}{{ include "panda.name" . }}-builder.{{ include "panda.buildNamespace" . }}.svc{{- end -}}
{{- define "panda.registryAddress" -}}{{ include "panda.name" . }}-registry.{{ .Release.Namespace }}.svc:5000{{- end -}}
{{- define "panda.issuer" -}}
{{- if .Values.issuer.name }}{{ .Values.issuer.name }}{{ else if not .Values.tls.platformSecret }}{{ include "panda.clusterName" . }}-acme{{ end -}}
{{- end -}}
{{- define "panda.host" -}}{{ (urlParse .Values.publicUrl).hostname }}{{- end -}}

{{/* Arguments: the root, the component. */}}
{{- define "panda.selector" -}}
app.kubernetes.io/name: panda
app.kubernetes.io/instance: {{ include "panda.name" (index . 0) }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}
{{- define "panda.match" -}}
{app.kubernetes.io/name: panda, app.kubernetes.io/instance: {{ include "panda.name" (index . 0) }}, app.kubernetes.io/component: {{ index . 1 }}}
{{- end -}}
{{- define "panda.labels" -}}
{{ include "panda.selector" . }}
app.kubernetes.io/part-of: panda
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
{{- end -}}

{{/* Who may send requests: ingress controllers, wherever they run, and neither apps nor build steps. */}}
{{- define "panda.outside" -}}
- namespaceSelector:
    matchExpressions:
    - {key: dev.panda/environment, operator: DoesNotExist}
    - {key: kubernetes.io/metadata.name, operator: NotIn, values: [{{ include "panda.buildNamespace" . }}]}
{{- with .Values.networkPolicy.ingressFrom }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What Pod Security *restricted* asks for, and a root filesystem that nobody writes to. */}}
{{- define "panda.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}
{{- define "panda.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* All mistakes that can be seen from the values alone; each with its fix. */}}
{{- define "panda.check" -}}
{{- $v := .Values -}}
{{- if not (hasPrefix "https://" $v.publicUrl) }}{{ fail (printf "publicUrl is `%s`: set it to the platform's own https address, such as https://panda.example.com" $v.publicUrl) }}{{ end -}}
{{- if not $v.appsDomain }}{{ fail "appsDomain is empty: set it to the domain that apps get their hosts in, such as apps.example.net" }}{{ end -}}
{{- if and $v.database.sqlite $v.database.secret }}{{ fail "database.sqlite and database.secret are both set: keep one" }}{{ end -}}
{{- if not (or $v.database.sqlite $v.database.secret) }}{{ fail "no database: make a Secret with PostgreSQL's URL and name it in database.secret, or set database.sqlite=true for one server on a volume" }}{{ end -}}
{{- $replicas := int $v.server.replicas -}}
{{- if or (lt $replicas 1) (gt $replicas 3) }}{{ fail (printf "server.replicas is %d: 1 to 3" $replicas) }}{{ end -}}
{{- if gt $replicas 1 -}}
{{- if $v.database.sqlite }}{{ fail "server.replicas is more than 1, and SQLite takes exactly one server: set database.secret to a Secret with PostgreSQL's URL" }}{{ end -}}
{{- if not (or $v.server.storage.existingClaim (eq $v.server.storage.accessMode "ReadWriteMany")) }}{{ fail "server.replicas is more than 1, and uploads have to be seen by all of them: set server.storage.accessMode=ReadWriteMany with a storage class that has it, or server.storage.existingClaim" }}{{ end -}}
{{- end -}}
{{- if and $v.database.sqlite (eq $v.server.storage.accessMode "ReadWriteMany") }}{{ fail "server.storage.accessMode is ReadWriteMany, which only network filesystems have, and SQLite breaks on those: use ReadWriteOnce" }}{{ end -}}
{{- if $v.tls.platformSecret -}}
{{- if and $v.registry.enabled (not $v.tls.registrySecret) }}{{ fail "tls.platformSecret is set and tls.registrySecret isn't: name both, or neither and an issuer" }}{{ end -}}
{{- else if not (or $v.issuer.name $v.issuer.acme.email) }}{{ fail "no certificates: set issuer.acme.email, or issuer.name to a ClusterIssuer of yours, or tls.platformSecret and tls.registrySecret" }}{{ end -}}
{{- if and $v.registry.enabled (not $v.registry.host) }}{{ fail "registry.host is empty: set it to the host by which nodes pull images, such as registry.panda.example.com" }}{{ end -}}
{{- if not (or $v.registry.enabled $v.registry.external.host) }}{{ fail "registry.enabled is false: name another registry in registry.external.host" }}{{ end -}}
{{- if eq (include "panda.buildNamespace" .) .Release.Namespace }}{{ fail "builder.namespace is the server's own: the builder needs rights there that nobody else should have; choose another" }}{{ end -}}
{{- end -}}
