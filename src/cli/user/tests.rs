use tempfile::TempDir;

use super::*;
use crate::{
    accounts::{KeySources, create_user},
    cli::context::places,
    store::TokenHash,
};

#[tokio::test]
async fn stdout_has_only_the_token() {
    let dir = TempDir::new().unwrap();
    let places = places(dir.path());
    let context = Context { places: &places, keys: Ok(KeySources::default()) };
    let (report, _) = add("Ada Lovelace", None, None, &context).await.unwrap();
    let token = report.out.strip_suffix('\n').unwrap();
    let store = context.store().await.unwrap();
    let user = store.lookup_token(&TokenHash::of(token)).await.unwrap().unwrap().user;
    assert_eq!(user.name, "Ada Lovelace");
    let id = &user.id;
    assert_eq!(
        report.note,
        format!(
            "created user `Ada Lovelace` with the id {id}; the token above is shown this once\n\
             next: `tollgate credential set {id} SECTION.FIELD` stores a provider's key\n"
        )
    );
    let created = utc(user.created_at_ms);
    let listed = list(&context).await.unwrap().out;
    assert_eq!(
        listed,
        format!(
            "ID                    CREATED               STATE   GROUP  NAME\n{id}  {created}  active  -      Ada Lovelace\n"
        )
    );
}

#[tokio::test]
async fn errors_name_the_next_step() {
    let dir = TempDir::new().unwrap();
    let places = places(dir.path());
    let context = Context { places: &places, keys: Ok(KeySources::default()) };
    let none = list(&context).await.err().unwrap().to_string();
    let data = dir.path().join("data");
    assert!(none.starts_with(&format!("there is no store in {}: ", data.display())), "{none}");
    assert!(!data.exists());
    context.store_or_new().await.unwrap();
    assert!(list(&context).await.unwrap().note.contains("`tollgate user add NAME`"));
    add("ada", None, None, &context).await.unwrap();
    let store = context.store().await.unwrap();
    let id = store.users().await.unwrap().remove(0).id;
    let check = |error: anyhow::Error, expected: &str| assert_eq!(format!("{error:#}"), expected);
    check(
        add("ada", None, None, &context).await.err().unwrap(),
        &format!(
            "a user named `ada` exists, with the id {id}: choose another name, or run `tollgate token add {id}` for a further token"
        ),
    );
    check(
        add("", None, None, &context).await.err().unwrap(),
        "failed to add the user: a name has 1 to 100 characters",
    );
    check(
        remove("bob", &context).await.err().unwrap(),
        "no user has the id or name `bob`: `tollgate user list` shows all",
    );
    let twin = create_user(&store, &Actor::own(), &DisplayName::new("ada").unwrap(), DuplicateNames::Allow)
        .await
        .unwrap();
    let NewUser::Created { id: twin, .. } = twin else { panic!("{twin:?}") };
    let ambiguous = format!("{:#}", remove("ada", &context).await.err().unwrap());
    assert!(ambiguous.contains(id.as_str()) && ambiguous.contains(twin.as_str()), "{ambiguous}");
    let report = remove(twin.as_str(), &context).await.unwrap();
    assert_eq!(report.note, format!("removed user `ada` ({twin}) with all tokens and credentials\n"));
    remove("ada", &context).await.unwrap();
    assert_eq!(store.users().await.unwrap(), []);
}

#[tokio::test]
async fn the_fields_of_a_user_can_be_changed() {
    let dir = TempDir::new().unwrap();
    let places = places(dir.path());
    let context = Context { places: &places, keys: Ok(KeySources::default()) };
    add("ada", Some("research"), Some("note".to_owned()), &context).await.unwrap();
    let store = context.store().await.unwrap();
    let check = async |args: &str, expected: [Option<&str>; 3], disabled: bool| {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: ChangeArgs,
        }
        let line = <Line as clap::Parser>::parse_from(["change"].into_iter().chain(args.split(' ')));
        change(&line.args, &context).await.unwrap();
        let user = store.users().await.unwrap().remove(0);
        let group = user.group.as_ref().map(GroupName::as_str);
        assert_eq!([Some(user.name.as_str()), group, user.ip.as_deref()], expected, "{args}");
        assert_eq!(user.disabled_at_ms.is_some(), disabled, "{args}");
    };
    check("ada --state disabled", [Some("ada"), Some("research"), Some("note")], true).await;
    check("ada --name bob --group sales", [Some("bob"), Some("sales"), Some("note")], true).await;
    check("bob --state active --no-group --no-ip", [Some("bob"), None, None], false).await;
    check("bob --ip here", [Some("bob"), None, Some("here")], false).await;
    let error = add("eve", Some("No Group"), None, &context).await.err().unwrap();
    assert!(error.to_string().starts_with("a group's name has"), "{error}");
}
