//! What holds for the repository itself.

use panda_e2e::boundaries::violations;
use panda_e2e::ground::repository;

#[test]
fn no_crate_uses_what_the_design_keeps_from_it() {
    let found = violations(repository()).unwrap();
    assert!(found.is_empty(), "{}", found.join("\n"));
}
