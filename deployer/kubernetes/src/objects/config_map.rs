//! Texts of `[files]` that aren't secret.

use k8s_openapi::api::core::v1::ConfigMap;

use super::Place;
use super::files::Keyed;

/// Makes the config map of a workload's files, `None` when it has none.
pub fn config_map(place: &Place, files: &[Keyed<'_>]) -> Option<ConfigMap> {
    let texts = files.iter().filter(|keyed| !keyed.file.secret);
    let data = texts.map(|keyed| (keyed.key(), keyed.file.content.reveal().to_owned())).collect();
    let map =
        ConfigMap { metadata: place.meta(), data: Some(data), immutable: Some(true), ..ConfigMap::default() };
    map.data.as_ref().is_some_and(|data| !data.is_empty()).then_some(map)
}
