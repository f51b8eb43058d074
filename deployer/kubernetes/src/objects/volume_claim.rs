//! A persistent disk. Nothing of the driver ever removes one.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements,
};

use super::{Place, bytes};

/// Makes the claim; `class` is the storage class, `None` for the cluster's default.
pub fn volume_claim(place: &Place, size_bytes: u64, class: Option<&str>) -> PersistentVolumeClaim {
    PersistentVolumeClaim {
        metadata: place.meta(),
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: class.map(str::to_owned),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), bytes(size_bytes))])),
                limits: None,
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}
