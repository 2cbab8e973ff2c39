use tempfile::TempDir;

use super::*;
use crate::{
    accounts::{Actor, DisplayName, KeySources, create_user},
    cli::context::places,
    store::DuplicateNames,
};

#[tokio::test]
async fn the_hash_chain_is_verified_to_its_end() {
    let dir = TempDir::new().unwrap();
    let places = places(dir.path());
    let context = Context { places: &places, keys: Ok(KeySources::default()) };
    let head = async |given: Option<&str>| match verify(given, &context).await {
        Ok(report) => Ok(report.out.trim().to_owned()),
        Err(error) => Err(error.to_string()),
    };
    assert!(head(None).await.unwrap_err().starts_with("there is no store in "));
    let store = context.store_or_new().await.unwrap();
    assert_eq!(head(None).await.unwrap(), "0:");
    let add = async |name: &str| {
        create_user(&store, &Actor::own(), &DisplayName::new(name).unwrap(), DuplicateNames::Allow)
            .await
            .unwrap()
    };
    add("ada").await;
    let one = head(None).await.unwrap();
    add("bob").await;
    let two = head(None).await.unwrap();
    assert_eq!(head(Some(&one)).await.unwrap(), two);
    let check = async |given: &str, expected: &str| {
        let error = head(Some(given)).await.unwrap_err();
        assert!(error.contains(expected), "{given}: {error}");
    };
    check(&format!("3{}", &two[1..]), "cut off").await;
    check(&format!("1{}", &two[1..]), "it was altered").await;
    check("1", "SEQ:HASH").await;
    check("x:", "number").await;
    check("1:ab", "64 hex digits").await;
}
