//! Who speaks for whom, and what is told to be kept.

use super::*;
use crate::broker::access::Nearness;
use crate::broker::identity::Who;
use std::path::Path;
use std::sync::mpsc;

const A: ObserverKey = ObserverKey([0xAA; 32]);
const B: ObserverKey = ObserverKey([0xBB; 32]);

fn topic(key: ObserverKey) -> String {
    format!("meshcore/SJC/{}/packets", key.to_string().to_lowercase())
}

fn accounts(names: &[&str]) -> Accounts {
    let hash =
        "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
    let one = |name: &&str| format!("[accounts.{name}]\nrole='publisher'\npassword='{hash}'\n");
    let text: String = names.iter().map(one).collect();
    Accounts::parse(Path::new("accounts.toml"), &text).unwrap()
}

fn account(name: &str) -> Identity {
    Identity::Account(name.into())
}

fn publisher(name: &str) -> Who {
    let (identity, role) = (account(name), Some(Role::Publisher));
    Who { identity, role, key: None, from: Nearness::Lan }
}

fn stranger() -> Who {
    Who::anonymous("10.0.0.9".parse().unwrap(), Nearness::Lan)
}

fn claims(remembered: Remembered, names: &[&str]) -> (Arc<Claims>, mpsc::Receiver<News>) {
    let (teller, told) = mpsc::sync_channel(20_000);
    let keeper = Arc::new(move |news| teller.send(news).unwrap());
    let clock = Clock::by_hand(5);
    (Arc::new(Claims::new(remembered, &accounts(names), clock, keeper)), told)
}

/// Publishes as the door does.
fn speak(
    claims: &Arc<Claims>,
    bind_first_key: bool,
    who: &mut Who,
    topic: &str,
) -> Result<(), &'static str> {
    let rules = access::Rules { bind_first_key, ..access::Rules::default() };
    let gate = access::Gate { rules, claims: Arc::clone(claims) as Arc<dyn access::Claims> };
    let (_, permit) = gate.publish(who, topic.to_owned()).map_err(|denied| denied.reason)?;
    if let Some(key) = permit.binds {
        let identity = who.identity.clone();
        access::Claims::bind(&**claims, &access::Binding { identity, key })?;
        who.key = Some(key);
    }
    Ok(())
}

#[test]
fn nobody_speaks_for_a_claimed_key_without_a_login_for_it() {
    let (claims, told) = claims(Remembered::default(), &["shared"]);
    for mut who in [stranger(), publisher("shared")] {
        assert_eq!(speak(&claims, false, &mut who, &topic(A)), Ok(()));
    }
    assert!(claims.claim(A, &Identity::Observer(A)) && claims.claim(A, &Identity::Observer(A)));
    for mut who in [stranger(), publisher("shared")] {
        let before = who.clone();
        assert_eq!(speak(&claims, false, &mut who, &topic(A)), Err("publish_for_a_claimed_key"));
        assert_eq!(speak(&claims, false, &mut who, &topic(B)), Ok(()));
        assert_eq!(speak(&claims, false, &mut who, "meshcore/x/y/packets"), Ok(()));
        assert_eq!(who, before);
    }
    let mut holder = Who { key: Some(A), ..publisher("A") };
    assert_eq!(speak(&claims, false, &mut holder, &topic(A)), Ok(()));
    let claim = Claim { key: A, identity: Identity::Observer(A), at_ms: 5 };
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [News::Claimed(claim)]);
}

#[test]
fn an_account_learns_its_key_at_its_first_use_and_keeps_it() {
    let (claims, told) = claims(Remembered::default(), &["roof", "other"]);
    let (mut first, mut second) = (publisher("roof"), publisher("roof"));
    assert_eq!(speak(&claims, true, &mut first, &topic(A)), Ok(()));
    assert_eq!(first.key, Some(A));
    let another = Err("publish_for_another_key");
    assert_eq!(speak(&claims, true, &mut second, &topic(B)), another);
    let mut third = publisher("other");
    assert_eq!(speak(&claims, true, &mut third, &topic(A)), Err("publish_for_a_claimed_key"));
    assert_eq!(third.key, None, "a claimed key is nobody's first one");
    let binding = Binding { account: "roof".into(), key: A, at_ms: 5 };
    let claim = Claim { key: A, identity: account("roof"), at_ms: 5 };
    let news: Vec<_> = told.try_iter().collect();
    assert_eq!(news, [News::Bound(binding.clone()), News::Claimed(claim.clone())]);

    // After a restart.
    let remembered =
        Remembered { claims: vec![claim], bindings: vec![binding], sessions: Vec::new() };
    let (claims, told) = self::claims(remembered, &["roof", "other"]);
    assert_eq!(claims.bound("roof"), Some(A));
    assert!(claims.is_claimed(&A));
    assert!(told.try_recv().is_err(), "nothing of it is new");
}

#[test]
fn the_claims_of_an_account_that_is_gone_are_void_and_those_of_a_key_are_not() {
    let claim = |identity| Claim { key: A, identity, at_ms: 1 };
    let binding = Binding { account: "roof".into(), key: A, at_ms: 1 };
    let claims_of_it = vec![claim(account("roof"))];
    let remembered =
        Remembered { claims: claims_of_it, bindings: vec![binding], sessions: Vec::new() };
    let (claims, told) = claims(remembered, &["other"]);
    assert!(!claims.is_claimed(&A));
    assert_eq!(claims.bound("roof"), None);
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [News::Forgotten("roof".into())]);
    claims.claim(A, &Identity::Observer(A));
    claims.accounts_are(&Accounts::default());
    assert!(claims.is_claimed(&A));
}

#[test]
fn each_holder_of_a_key_speaks_for_it_whoever_was_first() {
    let (claims, _told) = claims(Remembered::default(), &["roof"]);
    claims.claim(A, &Identity::Observer(A));
    claims.claim(A, &account("roof"));
    // A second connection of the account, which has not been told its key.
    let mut second = publisher("roof");
    assert_eq!(speak(&claims, false, &mut second, &topic(A)), Ok(()));
}

#[test]
fn a_key_is_taken_back_from_who_could_not_claim_it_again_by_an_account_of_its_own() {
    let (claims, told) = claims(Remembered::default(), &["roof", "hill"]);
    claims.claim(A, &Identity::Observer(A));
    let mut learns = publisher("roof");
    assert_eq!(speak(&claims, true, &mut learns, &topic(B)), Ok(()));
    claims.claim(B, &Identity::Observer(B));
    claims.claim(B, &account("hill"));
    let rows = claims.rows();
    let told_of: Vec<_> = rows.iter().map(|row| (row.by, row.holder.as_str())).collect();
    let (a, b) = (A.to_string(), B.to_string());
    use ClaimKind::{Account, Learnt, Token};
    assert_eq!(told_of, [(Token, &*a), (Learnt, "roof"), (Token, &*b), (Account, "hill")]);
    told.try_iter().for_each(drop);

    // `hill` has B for its key; the account that has learnt it has not.
    let mut file = accounts(&["roof"]);
    let hash = file.find("roof").unwrap().password.as_str().to_owned();
    let text = format!(
        "[accounts.roof]\nrole='publisher'\npassword='{hash}'\n\
         [accounts.hill]\nrole='publisher'\nkey='{b}'\npassword='{hash}'\n"
    );
    file = Accounts::parse(Path::new("accounts.toml"), &text).unwrap();
    let released = claims.release(B, &file);
    let names = |rows: &[ClaimRow]| rows.iter().map(|r| r.holder.clone()).collect::<Vec<_>>();
    assert_eq!(names(&released.released), ["roof", &*b]);
    assert_eq!(names(&released.kept), ["hill"]);
    let news: Vec<_> = told.try_iter().collect();
    let released = News::Released(B, Identity::Observer(B));
    assert_eq!(news, [News::Forgotten("roof".into()), released]);
    assert_eq!(claims.bound("roof"), None);
    assert!(claims.is_claimed(&B) && claims.is_claimed(&A));

    assert_eq!(names(&claims.release(A, &file).released), [a]);
    assert!(!claims.is_claimed(&A));
    assert_eq!(claims.release(A, &file), Released::default());
    assert_eq!(speak(&claims, false, &mut stranger(), &topic(A)), Ok(()));
}

#[test]
fn of_connections_that_race_for_an_account_or_for_a_key_one_binds() {
    for round in 0..50 {
        let (claims, told) = claims(Remembered::default(), &["club", "other"]);
        let start = std::sync::Barrier::new(8);
        let bound: Vec<_> = std::thread::scope(|scope| {
            let racer = |n: u8| {
                let (claims, start) = (&claims, &start);
                // Four connections of each account, each pair for two keys.
                let name = if n % 2 == 0 { "club" } else { "other" };
                let key = ObserverKey([n / 4; 32]);
                scope.spawn(move || {
                    start.wait();
                    let identity = account(name);
                    access::Claims::bind(&**claims, &access::Binding { identity, key })
                        .map(|()| (name, key))
                })
            };
            let racers: Vec<_> = (0..8).map(racer).collect();
            racers.into_iter().filter_map(|it| it.join().unwrap().ok()).collect()
        });
        let of = |name: &str| claims.bound(name);
        assert!(of("club").is_some() && of("club") != of("other"), "{round}: {bound:?}");
        assert!(bound.iter().all(|(name, key)| of(name) == Some(*key)), "{round}: {bound:?}");
        let bindings = told.try_iter().filter(|news| matches!(news, News::Bound(_)));
        assert_eq!(bindings.count(), [of("club"), of("other")].iter().flatten().count());
    }
}

#[test]
fn an_account_that_went_while_it_came_in_claims_and_learns_nothing() {
    let (claims, told) = claims(Remembered::default(), &["roof", "other"]);
    claims.accounts_are(&accounts(&["other"]));
    claims.claim(A, &account("roof"));
    assert!(!claims.is_claimed(&A));
    let mut learns = publisher("roof");
    assert_eq!(speak(&claims, true, &mut learns, &topic(B)), Err("account_changed"));
    assert!(!claims.is_claimed(&B) && claims.bound("roof").is_none());
    assert!(told.try_recv().is_err());
}

#[test]
fn claims_by_token_are_bounded_and_those_of_accounts_find_room() {
    let (claims, _told) = claims(Remembered::default(), &["roof"]);
    let key = |n: usize| {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&n.to_be_bytes());
        ObserverKey(key)
    };
    assert!((0..MOST).all(|n| claims.claim(key(n), &Identity::Observer(key(n)))));
    assert!(!claims.claim(key(MOST), &Identity::Observer(key(MOST))));
    assert!(claims.claim(key(3), &Identity::Observer(key(3))));
    assert!(claims.claim(key(MOST), &account("roof")));
}
