//! Files behind nginx: as a user without rights, on $PORT, compressed, hashed assets kept for a year.

use super::USER;
use super::text::Text;
use crate::detect::versions::NGINX_IMAGE;
use crate::plan::{BuildPlan, StaticPlan};

/// Where the files lie in the image.
const ROOT: &str = "/srv";
/// Written at start, because the port is known only then.
const START: &str =
    "sed \"s/8080/${PORT:-8080}/\" /etc/nginx/panda.conf > /tmp/nginx.conf && exec nginx -c /tmp/nginx.conf";

/// Returns the command that serves the files.
pub(crate) fn nginx_command() -> Vec<String> {
    ["/bin/sh", "-c", START].map(str::to_owned).to_vec()
}

pub(super) fn write(plan: &BuildPlan, files: &StaticPlan) -> String {
    let mut text = Text::new("a static site");
    text.line(format!("FROM {NGINX_IMAGE}"));
    let directory = files.directory.value.trim_start_matches("./").trim_end_matches('/');
    serve(&mut text, plan, files, "", &[if directory.is_empty() { "." } else { directory }]);
    text.finish()
}

/// Adds what the last stage needs beside its base image.
pub(super) fn serve(text: &mut Text, plan: &BuildPlan, files: &StaticPlan, flags: &str, from: &[&str]) {
    text.packages(&plan.packages);
    text.line("COPY <<'PANDA' /etc/nginx/panda.conf");
    text.line(config(files.fallback).trim_end());
    text.line("PANDA");
    text.copy(flags, from, ROOT);
    text.line(format!("USER {USER}"));
    text.line(format!("ENV HOST=0.0.0.0 PORT={}", plan.port.value));
    text.line(format!("EXPOSE {}", plan.port.value));
    text.line("STOPSIGNAL SIGQUIT");
    // The base image's own entry point edits files as root.
    text.line("ENTRYPOINT []");
    let web = plan.processes.values().next().map_or_else(nginx_command, |argv| argv.value.clone());
    text.cmd(&web);
}

fn config(fallback: bool) -> String {
    let unknown = if fallback { "/index.html" } else { "=404" };
    let missing = if fallback { "" } else { "\n    error_page 404 /404.html;" };
    format!(
        r#"worker_processes 2;
daemon off;
pid /tmp/nginx.pid;
error_log /dev/stderr warn;
events {{ worker_connections 1024; }}
http {{
  include /etc/nginx/mime.types;
  default_type application/octet-stream;
  access_log off;
  server_tokens off;
  sendfile on;
  tcp_nopush on;
  absolute_redirect off;
  client_body_temp_path /tmp/client;
  proxy_temp_path /tmp/proxy;
  fastcgi_temp_path /tmp/fastcgi;
  uwsgi_temp_path /tmp/uwsgi;
  scgi_temp_path /tmp/scgi;
  gzip on;
  gzip_vary on;
  gzip_min_length 1000;
  gzip_types text/css text/plain text/javascript application/javascript application/json application/xml image/svg+xml application/wasm;
  server {{
    listen 8080;
    root {ROOT};{missing}
    location / {{
      add_header Cache-Control "no-cache";
      try_files $uri $uri/index.html $uri.html {unknown};
    }}
    location ~ "^/(assets|static|_astro)/.*[.-][A-Za-z0-9_-]{{8,}}\.[a-z0-9]+$" {{
      add_header Cache-Control "public, max-age=31536000, immutable";
      try_files $uri =404;
    }}
    location ~ /\.(?!well-known/) {{ return 404; }}
  }}
}}
"#
    )
}
