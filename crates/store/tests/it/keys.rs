//! The installation's key: where it comes from, and what happens when it is the wrong one.

use std::os::unix::fs::PermissionsExt;

use panda_domain::ids::IdSource;
use panda_domain::secret::Secret;
use panda_store::{KeySource, Keyring, Store, StoreError};

use crate::support::on_each;

#[tokio::test]
async fn a_wrong_key_is_refused_at_the_start_and_named() {
    on_each(async |test| {
        test.store.close().await;
        let wrong = test.folder().join("wrong-key");
        let keyring = Keyring::create_file(&wrong).unwrap();
        let mut config = test.config.clone();
        if test.backend() == panda_store::Backend::Sqlite {
            // The lock of the first store is still held by this process: look at a copy.
            let copy = test.folder().join("copy.db");
            std::fs::copy(test.folder().join("panda.db"), &copy).unwrap();
            config.url = format!("sqlite://{}", copy.display());
        }
        let ids = IdSource::random(test.clock.clone());
        let refused = Store::open(&config, keyring, test.clock.clone(), ids).await.err().unwrap();
        assert!(matches!(&refused, StoreError::WrongKey { key } if key.contains("wrong-key")), "{refused}");
    })
    .await;
}

#[tokio::test]
async fn of_two_who_keep_a_sealed_setting_at_once_both_get_what_the_first_kept() {
    on_each(async |test| {
        let keep = async |value: &str| {
            let mut tx = test.store.begin().await.unwrap();
            let kept = tx.keep_sealed_setting("pair", &Secret::new(value)).await.unwrap();
            tx.commit().await.unwrap();
            kept
        };
        let (one, two) = tokio::join!(keep("one"), keep("two"));
        assert_eq!(one, two);
        assert_eq!(keep("three").await, one);
        let mut tx = test.store.read().await.unwrap();
        assert_eq!(tx.sealed_setting("pair").await.unwrap(), Some(one));
    })
    .await;
}

#[tokio::test]
async fn a_key_file_is_private_never_replaced_and_never_guessed() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("keys/master");
    let missing = Keyring::load(KeySource::File(path.clone())).await.unwrap_err();
    assert!(matches!(missing, StoreError::KeyUnreadable { .. }));
    let made = Keyring::create_file(&path).unwrap();
    assert!(Keyring::create_file(&path).is_err());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(Keyring::load(KeySource::File(path.clone())).await.is_ok());
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!format!("{made:?}").contains(text.trim()));

    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
    let open = Keyring::load(KeySource::File(path.clone())).await.unwrap_err();
    assert!(open.to_string().contains("others may read it"), "{open}");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    for (text, problem) in [("", "holds 0 bytes"), ("%%%", "no base 64"), (&"A".repeat(44), "")] {
        std::fs::write(&path, text).unwrap();
        let error = Keyring::load(KeySource::File(path.clone())).await.unwrap_err();
        assert!(error.to_string().contains(problem), "{error}");
    }
}

#[tokio::test]
async fn a_program_can_unwrap_the_key_and_its_failure_is_told() {
    let folder = tempfile::TempDir::new().unwrap();
    let wrapped = folder.path().join("wrapped");
    std::fs::write(&wrapped, "q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4k=").unwrap();
    let kms = |command: &[&str]| KeySource::Kms {
        command: command.iter().map(|&part| part.to_owned()).collect(),
        wrapped: wrapped.clone(),
    };
    assert!(Keyring::load(kms(&["cat"])).await.is_ok());
    let failed = Keyring::load(kms(&["false"])).await.unwrap_err();
    assert!(failed.to_string().contains("`false` ended with"), "{failed}");
    assert!(Keyring::load(kms(&["/no/such/program"])).await.is_err());
    assert!(Keyring::load(kms(&[])).await.is_err());
}

#[tokio::test]
async fn a_new_data_key_seals_from_now_on_and_the_old_one_still_opens() {
    on_each(async |test| {
        let mut tx = test.store.begin().await.unwrap();
        let certificate = |host: &str| panda_store::CertificateRow {
            host: host.to_owned(),
            state: panda_domain::route::CertificateState::Pending,
            chain_pem: None,
            key: Some(panda_domain::secret::Secret::new(host)),
            not_after: None,
            attempts: 0,
            next_attempt_at: test.clock.now(),
            challenge: None,
        };
        tx.upsert_certificate(&certificate("old.example.com")).await.unwrap();
        tx.commit().await.unwrap();
        test.clock.advance(std::time::Duration::from_secs(1));
        test.store.rotate_data_key().await.unwrap();
        let mut tx = test.store.begin().await.unwrap();
        tx.upsert_certificate(&certificate("new.example.com")).await.unwrap();
        let keys: Vec<_> = tx.all_certificates().await.unwrap().into_iter().filter_map(|c| c.key).collect();
        assert_eq!(
            keys.iter().map(panda_domain::secret::Secret::reveal).collect::<Vec<_>>(),
            ["new.example.com", "old.example.com"]
        );
    })
    .await;
}
