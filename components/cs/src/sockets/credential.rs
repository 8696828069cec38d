//! Who says to be who. Of several credentials the first one that is there
//! decides: those of the headers, of the first frame, of the query, and at last
//! name and email, which are none.
//!
//! What is in the upgrade is taken at once, for whoever puts a credential there
//! does not send another one.

use super::{
    envelope::Envelope,
    resume::{Seen, SeenOf},
};
use crate::domain::{SessionId, token};
use sdk::{
    Error, Result, Verbatim, codes, request,
    request::{Request, Source},
    sockets::Opening,
};

/// Of the path that opens new sessions.
const ALIAS: &str = "/api/chat/connect";
/// The longest token that is looked at.
const MAX_TOKEN: usize = 16_384;

#[derive(Debug, PartialEq)]
pub enum Credential {
    /// The user of the `Authorization` header, whom the host knows.
    Verified { after: Option<SeenOf> },
    /// An access token.
    Admin { token: String, after: Option<SeenOf> },
    /// A session and its token, if there is one.
    Guest { session: SessionId, token: Option<String>, after: Option<Seen> },
    /// Somebody who wants a new session, as they said.
    NewGuest { name: Option<String>, email: Option<String> },
}

request! {
    struct AdminAuth {
        token: Verbatim<0, MAX_TOKEN>,
        after: Option<SeenOf>,
    }
}

request! {
    struct GuestAuth {
        session_id: SessionId,
        session_token: Option<Verbatim<0, MAX_TOKEN>>,
        after_seq: Option<Seen>,
    }
}

request! {
    struct GuestQuery {
        session_id: SessionId,
        after_seq: Option<Seen>,
    }
}

request! {
    struct AdminQuery {
        after: Option<SeenOf>,
    }
}

/// What the upgrade shows, if anything. `is_user`: the host knows the user of
/// the header. `bare`: the id of a session is enough.
pub fn of_opening(opening: &Opening, is_user: bool, bare: bool) -> Result<Option<Credential>> {
    let query = &opening.query;
    let source = Source::Query(query);
    let given = |name| query.get(name).map(str::to_owned);
    let guest = |token| {
        let GuestQuery { session_id, after_seq } = GuestQuery::read(&source)?;
        Ok(Some(Credential::Guest { session: session_id, token, after: after_seq }))
    };
    // As over HTTP, the guest's header goes before the bearer.
    if let Some(token) = opening.header(token::HEADER).filter(|token| !token.is_empty()) {
        return guest(Some(token.to_owned()));
    }
    if let Some(refusal) = opening.refusal() {
        return Err(refusal);
    }
    if is_user {
        return Ok(Some(Credential::Verified { after: AdminQuery::read(&source)?.after }));
    }
    match (given("token"), given("session_id")) {
        (token @ Some(_), Some(_)) => return guest(token),
        (Some(token), None) => {
            return Ok(Some(Credential::Admin { token, after: AdminQuery::read(&source)?.after }));
        }
        (None, Some(_)) if bare => return guest(None),
        (None, _) => {}
    }
    let (name, email) = (given("name"), given("email"));
    let is_new_guest = opening.path.trim_end_matches('/') == ALIAS && (name.is_some() || email.is_some());
    Ok(is_new_guest.then_some(Credential::NewGuest { name, email }))
}

/// What the first frame shows.
pub fn of_frame(frame: &Envelope) -> Result<Credential> {
    let source = Source::Body(&frame.data);
    let is_there = |name| frame.data.get(name).is_some_and(|value| !value.is_null());
    if is_there("token") {
        let AdminAuth { token, after } = AdminAuth::read(&source)?;
        return Ok(Credential::Admin { token: token.as_str().to_owned(), after });
    }
    if !is_there("session_id") && !is_there("session_token") {
        return Err(Error::new(codes::AUTH_MISSING_TOKEN, "Please send a token"));
    }
    let GuestAuth { session_id, session_token, after_seq } = GuestAuth::read(&source)?;
    let token = session_token.map(|token| token.as_str().to_owned());
    Ok(Credential::Guest { session: session_id, token, after: after_seq })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const SESSION: &str = "0d3a1f8e-6a51-4f0c-9b60-1a2b3c4d5e6f";

    /// In short: who, with which token; or the code of the refusal.
    fn short(result: Result<Option<Credential>>) -> String {
        match result {
            Ok(None) => "nobody".into(),
            Ok(Some(Credential::Verified { .. })) => "verified".into(),
            Ok(Some(Credential::Admin { token, .. })) => format!("admin {token}"),
            Ok(Some(Credential::Guest { token, .. })) => format!("guest {}", token.unwrap_or_default()),
            Ok(Some(Credential::NewGuest { name, email })) => format!("new_guest {name:?} {email:?}"),
            Err(error) => error.code().name.into(),
        }
    }

    fn opened(path: &str, query: &str, header: (&str, &str)) -> String {
        let opening = Opening::new(path.into(), query, vec![(header.0.into(), header.1.into())]);
        short(of_opening(&opening, header.0 == "known", header.0 == "bare"))
    }

    #[test]
    fn the_first_credential_of_the_upgrade_decides() {
        let ws = "/api/cs/ws";
        let session = format!("session_id={SESSION}");
        let both = format!("{session}&token=b");
        for (query, header, expected) in [
            ("", ("x-session-token", "a"), "VALIDATION_ERROR"),
            ("session_id=x", ("x-session-token", "a"), "VALIDATION_ERROR"),
            (&both, ("x-session-token", "a"), "guest a"),
            (&both, ("x-session-token", ""), "guest b"),
            (&both, ("x-shema-refusal", "AUTH_TOKEN_EXPIRED"), "AUTH_TOKEN_EXPIRED"),
            (&both, ("known", ""), "verified"),
            ("after=x", ("known", ""), "VALIDATION_ERROR"),
            (&both, ("", ""), "guest b"),
            ("token=b", ("", ""), "admin b"),
            ("token=", ("", ""), "admin "),
            ("token=b&after=%7B%7D", ("", ""), "admin b"),
            ("token=b&after=%7B", ("", ""), "VALIDATION_ERROR"),
            (&session, ("", ""), "nobody"),
            (&session, ("bare", ""), "guest "),
            ("name=a&email=b", ("", ""), "nobody"),
            ("", ("", ""), "nobody"),
        ] {
            assert_eq!(opened(ws, query, header), expected, "{query} {header:?}");
        }
    }

    #[test]
    fn the_alias_alone_takes_name_and_email() {
        let new_guest = "new_guest Some(\"a\") Some(\"b@c.de\")";
        for path in [ALIAS, "/api/chat/connect/"] {
            assert_eq!(opened(path, "name=a&email=b%40c.de", ("", "")), new_guest);
            assert_eq!(opened(path, "name=a", ("", "")), "new_guest Some(\"a\") None");
            assert_eq!(opened(path, "name=a&email=b&token=t", ("", "")), "admin t");
            assert_eq!(opened(path, "", ("", "")), "nobody");
        }
    }

    #[test]
    fn the_first_frame_shows_an_admin_or_a_guest() {
        let shown = |data: Value| {
            let frame = Envelope::read(&json!({ "type": "auth", "data": data }).to_string());
            let frame = frame.unwrap_or_else(|_| unreachable!("{data} is an object"));
            short(of_frame(&frame).map(Some))
        };
        for (data, expected) in [
            (json!({ "token": "a" }), "admin a"),
            (json!({ "token": "a", "session_id": SESSION }), "admin a"),
            (json!({ "token": 1 }), "VALIDATION_ERROR"),
            (json!({ "token": "a", "after": [] }), "VALIDATION_ERROR"),
            (json!({ "token": "a", "after": { "x": 1 } }), "VALIDATION_ERROR"),
            (json!({ "token": "a", "after": null }), "admin a"),
            (json!({ "session_id": SESSION, "session_token": "b" }), "guest b"),
            (json!({ "session_id": SESSION, "token": null }), "guest "),
            (json!({ "session_id": SESSION, "session_token": 1 }), "VALIDATION_ERROR"),
            (json!({ "session_id": SESSION, "session_token": "b", "after_seq": -1 }), "VALIDATION_ERROR"),
            (json!({ "session_token": "b" }), "VALIDATION_ERROR"),
            (json!({ "session_id": "x", "session_token": "b" }), "VALIDATION_ERROR"),
            (json!({}), "AUTH_MISSING_TOKEN"),
        ] {
            assert_eq!(shown(data.clone()), expected, "{data}");
        }
    }
}
