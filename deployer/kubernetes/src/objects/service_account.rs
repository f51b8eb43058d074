//! Who instances are to the cluster: nobody.

use k8s_openapi::api::core::v1::ServiceAccount;

use super::Place;

/// The name in every environment.
pub const NAME: &str = "panda-app";

/// Makes an account that no right is bound to and no token is mounted of.
pub fn service_account(place: &Place) -> ServiceAccount {
    ServiceAccount {
        metadata: place.named(NAME).meta(),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
