//! One request as a handler sees it: who asks, and what was sent.

use crate::{
    __private::Request,
    bindings::shema::http::types::{Caller, Principal as Verified},
    choice,
    error::{Error, Result, codes},
    field::Uuid,
    time::Timestamp,
};
use serde_json::json;

choice! {
    /// What a user is.
    pub enum Role {
        Admin = "admin",
        Instructor = "instructor",
        Student = "student",
    }
}

/// A caller whose token the host has verified.
#[derive(Clone, Debug)]
pub struct Principal {
    pub user_id: Uuid,
    pub email: String,
    /// Of the user's row now.
    pub role: Role,
    pub session_id: Uuid,
}

/// One request.
pub struct Call {
    request: Request,
    caller: Option<Principal>,
    service: Option<String>,
    /// Of the `:name` segments, in the order of `request.params`.
    names: &'static [&'static str],
    query: QueryString,
}

/// The parameters of a query, decoded.
#[derive(Debug)]
pub struct QueryString(Vec<(String, String)>);

impl Principal {
    pub(crate) fn new(user: Verified) -> Result<Self> {
        Ok(Self {
            user_id: Uuid::parse(&user.user_id).ok_or_else(|| Error::internal("the caller's id is no UUID"))?,
            role: Role::parse(&user.role).ok_or_else(|| Error::internal("the caller's role is unknown"))?,
            session_id: Uuid::parse(&user.session_id).ok_or_else(|| Error::internal("the session's id is no UUID"))?,
            email: user.email,
        })
    }

    /// None unless the caller is a user.
    pub(crate) fn of(caller: Caller) -> Result<Option<Self>> {
        match caller {
            Caller::User(user) => Self::new(user).map(Some),
            Caller::Anonymous | Caller::Service(_) => Ok(None),
        }
    }
}

impl Call {
    pub(crate) fn new(mut request: Request, names: &'static [&'static str]) -> Result<Self> {
        let caller = std::mem::replace(&mut request.caller, Caller::Anonymous);
        let service = match &caller {
            Caller::Service(name) => Some(name.clone()),
            Caller::Anonymous | Caller::User(_) => None,
        };
        let query = QueryString::parse(&request.query);
        Ok(Self { request, caller: Principal::of(caller)?, service, names, query })
    }

    /// The other service or component that calls; `host` for the host itself.
    pub fn service(&self) -> Option<&str> {
        self.service.as_deref()
    }

    /// None for an anonymous caller and for a service.
    pub fn caller(&self) -> Option<&Principal> {
        self.caller.as_ref()
    }

    /// The caller of a route that demands one.
    pub fn user(&self) -> Result<&Principal> {
        self.caller().ok_or_else(|| Error::new(codes::AUTH_UNAUTHORIZED, "Please log in"))
    }

    /// The refusal of what the caller's role does not allow: 403, naming the role.
    pub fn forbidden(&self) -> Error {
        let error = Error::new(codes::AUTH_FORBIDDEN, "You are not allowed to do this");
        match self.caller() {
            Some(user) => error.with(json!({ "userRole": user.role })),
            None => error,
        }
    }

    pub fn has_role(&self, role: Role) -> bool {
        self.caller().is_some_and(|user| user.role == role)
    }

    /// Why the host did not accept the access token that was sent; None if it
    /// did, or if none was sent. Only a route of `Access::Optional` can be asked
    /// that way: others never get there.
    pub fn refusal(&self) -> Option<Error> {
        // Clients cannot send headers of this prefix.
        self.header("x-shema-refusal").map(Error::refused_token)
    }

    /// The first header of that name, in whatever case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.request.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The value of a `:name` segment.
    pub fn param(&self, name: &str) -> Option<&str> {
        let position = self.names.iter().position(|known| *known == name)?;
        self.request.params.get(position).map(String::as_str)
    }

    pub(crate) fn params(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.names.iter().copied().zip(self.request.params.iter().map(String::as_str))
    }

    pub fn query(&self) -> &QueryString {
        &self.query
    }

    pub fn body(&self) -> &[u8] {
        &self.request.body
    }

    pub fn id(&self) -> &str {
        &self.request.id
    }

    /// When the host received the request.
    pub fn received_at(&self) -> Timestamp {
        Timestamp::from_millis(i64::try_from(self.request.received_at).unwrap_or(i64::MAX))
    }
}

impl QueryString {
    pub fn parse(query: &str) -> Self {
        Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// The value of a parameter; of several with one name the first.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A request of nobody, with nothing in it.
    pub(crate) fn bare_request() -> Request {
        Request {
            route: 0,
            params: Vec::new(),
            query: String::new(),
            headers: Vec::new(),
            body: Vec::new(),
            caller: Caller::Anonymous,
            id: "request-1".into(),
            received_at: 1_760_515_200_000,
        }
    }

    pub(crate) fn request_of(role: &str) -> Request {
        let caller = Caller::User(Verified {
            user_id: "0d3a1f8e-6a51-4f0c-9b60-1a2b3c4d5e6f".into(),
            email: "a@example.org".into(),
            role: role.into(),
            session_id: "1d3a1f8e-6a51-4f0c-9b60-1a2b3c4d5e6f".into(),
        });
        Request { caller, ..bare_request() }
    }

    #[test]
    fn a_refused_token_is_told_from_none() {
        let told = |headers: &[(&str, &str)]| {
            let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let call = Call::new(Request { headers, ..bare_request() }, &[]).ok();
            call.and_then(|call| call.refusal()).map(|error| error.code().name)
        };
        assert_eq!(told(&[]), None);
        assert_eq!(told(&[("x-shema-refusal", "AUTH_TOKEN_EXPIRED")]), Some("AUTH_TOKEN_EXPIRED"));
        assert_eq!(told(&[("x-shema-refusal", "SOMETHING_NEW")]), Some("AUTH_INVALID_TOKEN"));
    }

    #[test]
    fn queries_are_percent_and_plus_decoded() {
        for (query, expected) in [
            ("a+b%20c%C3%A9=%zz%4", vec![("a b cé", "%zz%4")]),
            ("a=%ff", vec![("a", "\u{fffd}")]),
            ("a=1&&b&a=2=3", vec![("a", "1"), ("b", ""), ("a", "2=3")]),
        ] {
            let pairs: Vec<_> = expected.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
            assert_eq!(QueryString::parse(query).0, pairs, "{query}");
        }
    }
}
