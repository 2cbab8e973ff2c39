use tempfile::TempDir;

use super::*;
use crate::{
    accounts::KeySources,
    fields::KnownFields,
    store::{Store, TokenHash},
};

fn context<'a>(dir: &TempDir, known: &'a KnownFields) -> Context<'a> {
    Context { data_dir: dir.path().to_owned(), keys: KeySources::default(), known }
}

#[tokio::test]
async fn the_token_alone_goes_to_stdout() {
    let (dir, known) = (TempDir::new().unwrap(), KnownFields::default());
    let context = context(&dir, &known);
    let report = add("Ada Lovelace", &context).await.unwrap();
    let token = report.out.strip_suffix('\n').unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let user = store.lookup_token(&TokenHash::of(token)).await.unwrap().unwrap().user;
    assert_eq!(user.name, "Ada Lovelace");
    let id = &user.id;
    assert_eq!(
        report.note,
        format!(
            "made user `Ada Lovelace` with the id {id}; the token above is shown this once\n\
             next: `tollgate credential set {id} SECTION.FIELD` stores a provider's key\n"
        )
    );
    let created = utc(user.created_at_ms);
    let listed = list(&context).await.unwrap().out;
    assert_eq!(
        listed,
        format!("ID                    CREATED               NAME\n{id}  {created}  Ada Lovelace\n")
    );
}

#[tokio::test]
async fn what_is_refused_says_how_to_go_on() {
    let (dir, known) = (TempDir::new().unwrap(), KnownFields::default());
    let context = context(&dir, &known);
    assert!(list(&context).await.unwrap().note.contains("`tollgate user add NAME`"));
    add("ada", &context).await.unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let id = store.users().await.unwrap().remove(0).id;
    let check = |error: anyhow::Error, expected: &str| assert_eq!(format!("{error:#}"), expected);
    check(
        add("ada", &context).await.err().unwrap(),
        &format!(
            "a user named `ada` exists, with the id {id}: choose another name, or run `tollgate token add {id}` for a further token"
        ),
    );
    check(add("", &context).await.err().unwrap(), "failed to add the user: a name has 1 to 100 characters");
    check(
        remove("bob", &context).await.err().unwrap(),
        "no user has the id or name `bob`: `tollgate user list` shows all",
    );
    let twin =
        create_user(&store, &Actor::own(), &DisplayName::new("ada").unwrap(), Names::Any).await.unwrap();
    let NewUser::Created { id: twin, .. } = twin else { panic!("{twin:?}") };
    let ambiguous = format!("{:#}", remove("ada", &context).await.err().unwrap());
    assert!(ambiguous.contains(id.as_str()) && ambiguous.contains(twin.as_str()), "{ambiguous}");
    let report = remove(twin.as_str(), &context).await.unwrap();
    assert_eq!(report.note, format!("removed user `ada` ({twin}) with all tokens and credentials\n"));
    remove("ada", &context).await.unwrap();
    assert_eq!(store.users().await.unwrap(), []);
}
