{{/* The server's settings. Those of `server.settings` come last and win. */}}
{{- define "panda.env" -}}
{{- $set := dict -}}
{{- $_ := set $set "PUBLIC_URL" .Values.publicUrl -}}
{{- $_ := set $set "APPS_DOMAIN" .Values.appsDomain -}}
{{- $_ := set $set "RUNTIME__KIND" "kubernetes" -}}
{{- $_ := set $set "LISTEN__API" "0.0.0.0:7080" -}}
{{- $_ := set $set "LISTEN__PROXIES" (join " " .Values.ingress.proxies) -}}
{{- $_ := set $set "KUBERNETES__INGRESS_CLASS" .Values.ingress.className -}}
{{- $_ := set $set "KUBERNETES__ISSUER" (include "panda.issuer" .) -}}
{{- $_ := set $set "BUILDER__ADDRESS" (printf "tcp://%s:1234" (include "panda.builderHost" .)) -}}
{{- $_ := set $set "BUILDER__CA_FILE" "/var/lib/panda/keys/builder-ca.crt" -}}
{{- $_ := set $set "BUILDER__CERT_FILE" "/var/lib/panda/keys/builder-client.crt" -}}
{{- $_ := set $set "BUILDER__KEY_FILE" "/var/lib/panda/keys/builder-client.key" -}}
{{- $_ := set $set "REGISTRY__MIRRORS" (join " " .Values.registry.mirrors) -}}
{{- if .Values.registry.enabled -}}
{{- $_ := set $set "REGISTRY__PUSH_URL" (include "panda.registryAddress" .) -}}
{{- $_ := set $set "REGISTRY__PULL_URL" .Values.registry.host -}}
{{- $_ := set $set "REGISTRY__OWN_URL" (printf "http://%s" (include "panda.registryAddress" .)) -}}
{{- $_ := set $set "REGISTRY__INSECURE" "true" -}}
{{- else -}}
{{- $_ := set $set "REGISTRY__PUSH_URL" .Values.registry.external.host -}}
{{- $_ := set $set "REGISTRY__PULL_URL" .Values.registry.external.host -}}
{{- $_ := set $set "REGISTRY__INSECURE" (toString .Values.registry.external.insecure) -}}
{{- end -}}
{{- $_ := set $set "LOG__FORMAT" "json" -}}
{{- range $section, $keys := .Values.server.settings -}}
{{- if kindIs "map" $keys -}}
{{- range $key, $value := $keys -}}
{{- if kindIs "map" $value -}}
{{- range $name, $one := $value -}}
{{- $_ := set $set (printf "%s__%s__%s" (upper $section) (upper $key) (upper $name)) (toString $one) -}}
{{- end -}}
{{- else -}}
{{- $_ := set $set (printf "%s__%s" (upper $section) (upper $key)) (ternary (join " " $value) (toString $value) (kindIs "slice" $value)) -}}
{{- end -}}
{{- end -}}
{{- else -}}
{{- $_ := set $set (upper $section) (toString $keys) -}}
{{- end -}}
{{- end -}}
{{- range $name, $value := $set }}
{{- if ne $value "" }}
- {name: PANDA_{{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}
{{- if .Values.database.secret }}
- name: DATABASE_URL
  valueFrom: {secretKeyRef: {name: {{ .Values.database.secret }}, key: {{ .Values.database.key }}}}
{{- end }}
{{- end -}}
