//! Refuses a change that could not be served, before any of it is taken over.

use std::collections::HashSet;

use crate::protocol::{Certificate, Challenge, Patch, Redirect, Route};
use crate::tls;

/// Says which part of a change is wrong and why.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{object} `{id}`: {reason}")]
pub(crate) struct Invalid {
    object: &'static str,
    id: String,
    reason: String,
}

fn invalid(object: &'static str, id: &str, reason: impl Into<String>) -> Invalid {
    Invalid { object, id: id.to_owned(), reason: reason.into() }
}

pub(super) fn patch(patch: &Patch) -> Result<(), Invalid> {
    let mut ids = HashSet::new();
    for route in &patch.routes {
        check_route(route).map_err(|reason| invalid("route", &route.id, reason))?;
        if !ids.insert(route.id.as_str()) {
            return Err(invalid("route", &route.id, "appears twice"));
        }
    }
    let mut ids = HashSet::new();
    for certificate in &patch.certificates {
        check_certificate(certificate).map_err(|reason| invalid("certificate", &certificate.id, reason))?;
        if !ids.insert(certificate.id.as_str()) {
            return Err(invalid("certificate", &certificate.id, "appears twice"));
        }
    }
    for challenge in patch.challenges.iter().flatten() {
        check_challenge(challenge).map_err(|reason| invalid("challenge", &challenge.token, reason))?;
    }
    for redirect in patch.redirects.iter().flatten() {
        check_redirect(redirect).map_err(|reason| invalid("redirect", &redirect.id, reason))?;
    }
    Ok(())
}

fn check_route(route: &Route) -> Result<(), String> {
    if route.id.is_empty() || route.app.is_empty() {
        return Err("needs an id and an app".to_owned());
    }
    match route.tcp_port {
        None => check_hosts(&route.hosts, true)?,
        Some(0) => return Err("port 0 can't be listened on".to_owned()),
        Some(_) if !route.hosts.is_empty() => return Err("a TCP port has no host".to_owned()),
        Some(_) => {}
    }
    let prefix = &route.path_prefix;
    if !prefix.starts_with('/') || prefix.len() > 1024 || prefix.bytes().any(|byte| !byte.is_ascii_graphic())
    {
        return Err(format!(
            "path prefix `{}` must start with `/` and be visible ASCII",
            prefix.escape_debug()
        ));
    }
    let options = &route.options;
    let times = [options.connect_timeout_ms, options.response_timeout_ms, options.idle_timeout_ms];
    if times.iter().any(|ms| !(1..=DAY_MS).contains(ms)) || options.hold_ms > DAY_MS {
        return Err("timeouts must be between 1 ms and a day".to_owned());
    }
    Ok(())
}

const DAY_MS: u64 = 24 * 3600 * 1000;

fn check_hosts(hosts: &[String], catch_all: bool) -> Result<(), String> {
    if hosts.is_empty() {
        return Err("needs a host".to_owned());
    }
    for host in hosts {
        let name = host.strip_prefix("*.").unwrap_or(host);
        let is_name = !name.is_empty()
            && host.len() <= 253
            && !name.starts_with('.')
            && !name.ends_with('.')
            && name.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'_')
            });
        // An IPv6 address, as it stands in a Host header.
        let is_v6 = host.starts_with('[') && host.ends_with(']') && host[1..host.len() - 1].contains(':');
        if !(is_name || is_v6 || (catch_all && host == "*")) {
            return Err(format!("host `{}` must be a lower-case name without a port", host.escape_debug()));
        }
    }
    Ok(())
}

fn check_certificate(certificate: &Certificate) -> Result<(), String> {
    if certificate.id.is_empty() {
        return Err("needs an id".to_owned());
    }
    check_hosts(&certificate.hosts, false)?;
    tls::parse(certificate).map(|_| ()).map_err(|error| error.to_string())
}

fn check_challenge(challenge: &Challenge) -> Result<(), String> {
    let is_token = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    };
    if is_token(&challenge.token) && is_token(&challenge.key_authorization) {
        Ok(())
    } else {
        Err("token and answer must be base64url".to_owned())
    }
}

fn check_redirect(redirect: &Redirect) -> Result<(), String> {
    if redirect.app.is_empty() {
        return Err("needs an app".to_owned());
    }
    check_hosts(&redirect.hosts, false)?;
    let authority = redirect.to.strip_prefix("https://").or_else(|| redirect.to.strip_prefix("http://"));
    if !authority.is_some_and(|name| {
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'?' | b'#'))
    }) {
        return Err(format!("target `{}` must be a scheme and a host", redirect.to.escape_debug()));
    }
    if !matches!(redirect.status, 301 | 302 | 307 | 308) {
        return Err(format!("status {} is no redirect", redirect.status));
    }
    Ok(())
}
