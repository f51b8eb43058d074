//! What a container gets that says nothing: the solver of an ACME challenge, something that a person started by hand.

use k8s_openapi::api::core::v1::{LimitRange, LimitRangeItem, LimitRangeSpec};

use super::{Place, container};
use crate::config::{DefaultLimits, Requests};

/// Makes the limit range of an environment.
pub fn limit_range(place: &Place, limits: DefaultLimits, requests: Requests) -> LimitRange {
    let figures = container::resources(limits.0, requests);
    let item = LimitRangeItem {
        type_: "Container".to_owned(),
        default: figures.limits,
        default_request: figures.requests,
        ..LimitRangeItem::default()
    };
    LimitRange { metadata: place.meta(), spec: Some(LimitRangeSpec { limits: vec![item] }) }
}
