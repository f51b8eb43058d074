//! The create requests behind a placement, as people may read them: values of variables are holes.

use panda_deployer::runtime::{EnvironmentKey, RuntimeResult};
use panda_domain::ids::PlacementId;
use serde_json::{Value, json};

use crate::environments::network_name;
use crate::labels;
use crate::runtime::Driver;

impl Driver {
    /// Returns what the engine holds for a placement as JSON.
    pub(crate) async fn manifest(
        &self,
        environment: &EnvironmentKey,
        placement: &PlacementId,
    ) -> RuntimeResult<String> {
        let installation = &self.host.installation;
        let mut select = labels::select_environment(installation, environment, labels::KIND_INSTANCE);
        select.push(format!("{}={placement}", labels::PLACEMENT));
        let mut containers = Vec::new();
        for (_, inspect) in self.inspect_all(self.listed(select).await?).await? {
            let mut config = serde_json::to_value(inspect.config).unwrap_or_default();
            hide_values(&mut config);
            let mut container = json!({
                "Name": inspect.name,
                "Config": config,
                "HostConfig": serde_json::to_value(inspect.host_config).unwrap_or_default(),
            });
            drop_empty(&mut container);
            containers.push(container);
        }
        let manifest = json!({ "Network": network_name(environment), "Containers": containers });
        Ok(format!("{manifest:#}\n"))
    }
}

/// Variables may be secret, and here nobody knows which: names only.
fn hide_values(config: &mut Value) {
    for variable in config.get_mut("Env").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some((name, _)) = variable.as_str().and_then(|text| text.split_once('=')) {
            *variable = Value::from(format!("{name}=…"));
        }
    }
}

fn drop_empty(value: &mut Value) {
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Bool(_) => false,
    };
    if let Value::Object(map) = value {
        map.values_mut().for_each(drop_empty);
        map.retain(|_, value| !empty(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_of_a_variable_is_shown() {
        let mut config = json!({"Env": ["TOKEN=very=secret", "PORT=8080"], "Tty": false});
        hide_values(&mut config);
        assert_eq!(config["Env"], json!(["TOKEN=…", "PORT=…"]));
    }
}
