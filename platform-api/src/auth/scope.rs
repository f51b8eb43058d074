//! Scopes as people write them: `full`, `read`, `deploy:APP`.

use panda_domain::names::AppName;
use panda_domain::team::{Permission, Scope};

use crate::error::{Error, InField, Result};

/// Parses a scope of the field `scope`.
pub fn parse(text: &str) -> Result<Scope> {
    match text.split_once(':') {
        None if text == "full" => Ok(Scope::Full),
        None if text == "read" => Ok(Scope::Read),
        Some(("deploy", app)) => Ok(Scope::Deploy { app: app.parse::<AppName>().in_field("scope")? }),
        _ => Err(Error::invalid_field("scope", "has to be `full`, `read` or `deploy:APP`")),
    }
}

/// Returns the scope as people write it.
pub fn word(scope: &Scope) -> String {
    match scope {
        Scope::Full => "full".to_owned(),
        Scope::Read => "read".to_owned(),
        Scope::Deploy { app } => format!("deploy:{app}"),
    }
}

/// Tells whether a scope covers a permission on an app. `None` means that no app is touched yet: a deploy token may send the
/// files of its app before it deploys them.
pub fn covers(scope: &Scope, permission: Permission, app: Option<&AppName>) -> bool {
    match scope {
        Scope::Full => true,
        Scope::Read => permission == Permission::Read,
        Scope::Deploy { app: own } => match permission {
            Permission::Read => true,
            Permission::Deploy => app.is_none_or(|app| app == own),
            _ => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_survives_its_text_form() {
        for text in ["full", "read", "deploy:api-1"] {
            assert_eq!(word(&parse(text).unwrap()), text);
        }
        for bad in ["", "Full", "deploy", "deploy:", "deploy:../x", "admin", "read:x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_deploy_token_deploys_its_app_alone() {
        let scope = parse("deploy:shop").unwrap();
        let (shop, other) = ("shop".parse().unwrap(), "other".parse().unwrap());
        assert!(covers(&scope, Permission::Deploy, Some(&shop)));
        assert!(covers(&scope, Permission::Read, Some(&other)));
        assert!(!covers(&scope, Permission::Deploy, Some(&other)));
        assert!(covers(&scope, Permission::Deploy, None));
        assert!(!covers(&scope, Permission::WriteEnv, Some(&shop)));
        assert!(!covers(&scope, Permission::RevealEnv, Some(&shop)));
    }
}
