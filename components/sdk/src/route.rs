//! The route table, and the way of a request through it.
//!
//! The order of judgement, the first failure answers: role, and ownership that
//! the path alone decides (403) → path, query and body, all problems at once
//! (400) → the handler. What comes before is the host's.

use crate::{
    __private::{Request, Response, RouteRow},
    bindings::shema::http::types,
    call::{Call, Role},
    error::{Error, Result},
    extract::{Extract, Input},
    log,
    problem::Problems,
    reply::{self, Reply},
    time::Timestamp,
};
use serde_json::Map;

pub use types::Method;

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Access {
    /// Everybody; a token is ignored.
    Public,
    /// Everybody; a good token makes the caller known.
    Optional,
    /// Every user.
    User,
    /// Users of these roles.
    Roles(&'static [Role]),
    /// The user that the path parameter names, and users of these roles.
    OwnerOr(&'static str, &'static [Role]),
    /// Other services and components.
    Service,
    /// Every user, other services and components.
    UserOrService,
    /// The host: scheduled work, and parts of its own answers.
    Internal,
}

/// One declared route.
pub struct Route {
    pub method: Method,
    pub path: &'static str,
    pub access: Access,
    /// Of the answer when all went well.
    pub status: u16,
    /// Says so in the header `Deprecation`.
    pub deprecated: bool,
    names: Vec<&'static str>,
    inputs: fn() -> Vec<Input>,
    run: Run,
}

/// Everything from the extraction of the arguments to status and body of the
/// answer.
type Run = Box<dyn Fn(&Call) -> Result<(u16, Vec<u8>)> + Send + Sync>;

impl Route {
    /// What the route reads of a request, by which rules.
    pub fn inputs(&self) -> Vec<Input> {
        (self.inputs)()
    }

    /// The parameters of the path, in their order.
    pub fn names(&self) -> &[&'static str] {
        &self.names
    }

    pub fn deprecated(self) -> Self {
        Self { deprecated: true, ..self }
    }
}

macro_rules! methods {
    ($($name:ident => $method:ident),+) => {$(
        pub fn $name<A, H: Handler<A>>(path: &'static str, access: Access, handler: H) -> Route {
            route(Method::$method, path, access, handler)
        }
    )+};
}

methods! { get => Get, post => Post, put => Put, patch => Patch, delete => Delete }

fn route<A, H: Handler<A>>(method: Method, path: &'static str, access: Access, handler: H) -> Route {
    Route {
        method,
        path,
        access,
        status: H::STATUS,
        deprecated: false,
        names: path.split('/').filter_map(|segment| segment.strip_prefix(':')).collect(),
        inputs: H::inputs,
        run: Box::new(move |call| handler.run(call)),
    }
}

/// A function of the call and of what its arguments extract.
pub trait Handler<A>: Send + Sync + 'static {
    const STATUS: u16;

    fn run(&self, call: &Call) -> Result<(u16, Vec<u8>)>;

    fn inputs() -> Vec<Input>;
}

macro_rules! handler {
    ($($argument:ident)*) => {
        impl<F, R, $($argument),*> Handler<(R, $($argument,)*)> for F
        where
            F: Fn(&Call, $($argument),*) -> Result<R> + Send + Sync + 'static,
            R: Reply,
            $($argument: Extract,)*
        {
            const STATUS: u16 = R::STATUS;

            #[allow(non_snake_case, unused_mut, irrefutable_let_patterns)]
            fn run(&self, call: &Call) -> Result<(u16, Vec<u8>)> {
                let mut problems = Problems::default();
                $(let $argument = problems.take($argument::extract(call));)*
                let ($(Some($argument),)*) = ($($argument,)*) else { return Err(problems.into()) };
                let reply = self(call, $($argument),*)?;
                let body = reply.body(call, Map::new()).map_err(|error| Error::internal(error.to_string()))?;
                Ok((reply.status(), body))
            }

            fn inputs() -> Vec<Input> {
                let inputs: Vec<Vec<Input>> = vec![$($argument::inputs()),*];
                inputs.concat()
            }
        }
    };
}

handler! {}
handler! { A }
handler! { A B }
handler! { A B C }

/// The table as the host wants it.
pub fn table(routes: &[Route]) -> Vec<RouteRow> {
    let row = |route: &Route| RouteRow {
        method: route.method,
        path: route.path.to_owned(),
        access: match route.access {
            Access::Public => types::Access::Public,
            Access::Optional => types::Access::Optional,
            Access::User | Access::Roles(_) | Access::OwnerOr(..) => types::Access::User,
            Access::Service => types::Access::Service,
            Access::UserOrService => types::Access::UserOrService,
            Access::Internal => types::Access::Internal,
        },
    };
    routes.iter().map(row).collect()
}

/// Answers one request.
pub fn handle(routes: &'static [Route], request: Request) -> Response {
    let id = request.id.clone();
    let received_at = Timestamp::from_millis(i64::try_from(request.received_at).unwrap_or(i64::MAX));
    let route = usize::try_from(request.route).ok().and_then(|position| routes.get(position));
    let result = route.ok_or_else(|| Error::internal("the host named a route that is not there")).and_then(|route| {
        let call = Call::new(request, &route.names)?;
        admit(&call, route.access)?;
        (route.run)(&call).map(|(status, body)| reply::response(status, body))
    });
    let mut response = result.unwrap_or_else(|error| {
        if let Some(cause) = error.cause() {
            log::error(&cause);
        }
        reply::response(error.code().status, error.body(&id, received_at))
    });
    if route.is_some_and(|route| route.deprecated) {
        response.headers.push(("deprecation".into(), "true".into()));
    }
    response
}

fn admit(call: &Call, access: Access) -> Result<()> {
    let admitted = match access {
        Access::Public | Access::Optional => true,
        Access::User => call.user().map(|_| true)?,
        Access::Service | Access::Internal => call.service().is_some(),
        Access::UserOrService => call.service().is_some() || call.user().map(|_| true)?,
        Access::Roles(roles) => roles.contains(&call.user()?.role),
        Access::OwnerOr(param, roles) => {
            let user = call.user()?;
            let is_owner = call.param(param).is_some_and(|id| id.eq_ignore_ascii_case(user.user_id.as_str()));
            is_owner || roles.contains(&user.role)
        }
    };
    if admitted { Ok(()) } else { Err(Error::forbidden(call)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Ack, Body, Created, Data, OptionalBody, Path, Query, Text, Unread, Uuid,
        call::tests::{bare_request, request_of},
        request,
    };
    use serde_json::{Value, json};
    use std::sync::LazyLock;

    request! {
        struct Filter { search: Option<Text<0, 3>> }
    }
    request! {
        struct Thing { title: Text<1, 5> }
    }

    fn echo(
        _: &Call,
        Path(id): Path<Uuid>,
        Query(filter): Query<Filter>,
        Body(thing): Body<Thing>,
    ) -> Result<Created<Value>> {
        Ok(Created(json!({ "id": id, "search": filter.search, "title": thing.title })))
    }

    fn own(_: &Call, Path(id): Path<Uuid>) -> Result<Data<Uuid>> {
        Ok(Data(id))
    }

    fn late(call: &Call, body: Unread<OptionalBody<Filter>>) -> Result<Ack> {
        if call.has_role(Role::Student) {
            return Err(Error::forbidden(call));
        }
        body.read(call).map(|OptionalBody(filter)| Ack::new("done").with("search", filter.search))
    }

    static ROUTES: LazyLock<Vec<Route>> = LazyLock::new(|| {
        vec![
            post("/api/things/:thingId", Access::Roles(&[Role::Admin]), echo).deprecated(),
            get("/api/users/:id", Access::OwnerOr("id", &[Role::Admin]), own),
            post("/api/late", Access::Public, late),
        ]
    });

    fn answer(request: Request) -> (u16, Value) {
        let response = handle(&ROUTES, request);
        (response.status, serde_json::from_slice(&response.body).unwrap_or_default())
    }

    fn thing(role: &str, id: &str, query: &str, body: &str) -> Request {
        Request {
            params: vec![id.into()],
            query: query.into(),
            headers: vec![("content-type".into(), "application/json; charset=utf-8".into())],
            body: body.into(),
            ..request_of(role)
        }
    }

    const ID: &str = "0d3a1f8e-6a51-4f0c-9b60-1a2b3c4d5e6f";

    #[test]
    fn a_good_request_is_answered_in_the_envelope() {
        let (status, body) = answer(thing("admin", ID, "search=a+b", r#"{"title":" x "}"#));
        assert_eq!(status, 201);
        assert_eq!(
            body,
            json!({
                "success": true,
                "data": { "id": ID, "search": "a b", "title": "x" },
                "meta": { "timestamp": "2025-10-15T08:00:00.000Z", "requestId": "request-1" },
            })
        );
    }

    #[test]
    fn the_role_is_judged_before_the_rest() {
        let (status, body) = answer(thing("student", "no-id", "", "no json"));
        assert_eq!((status, &body["error"]["code"]), (403, &json!("AUTH_FORBIDDEN")));
        assert_eq!(body["error"]["details"], json!({ "userRole": "student" }));
    }

    #[test]
    fn path_query_and_body_are_judged_together() {
        let (status, body) = answer(thing("admin", "no-id", "search=long", "{}"));
        assert_eq!((status, &body["error"]["code"]), (400, &json!("VALIDATION_ERROR")));
        assert_eq!(body["message"], body["error"]["message"]);
        let fields: Vec<_> = body["error"]["details"].as_array().into_iter().flatten().map(|d| &d["field"]).collect();
        assert_eq!(fields, ["thingId", "search", "title"]);
        assert!(body.get("data").is_none());
    }

    #[test]
    fn what_is_no_json_object_is_one_problem_without_a_path() {
        for body in ["", "no json", "[]", "null", "\"a\"", "{\"title\":1e999}"] {
            let (status, answer) = answer(thing("admin", ID, "", body));
            assert_eq!(status, 400, "{body}");
            let details = &answer["error"]["details"];
            assert_eq!((&details[0]["path"], &details[0]["field"]), (&json!([]), &json!("")), "{body}");
            assert!(details[1].is_null(), "{body}");
        }
        let other_type = Request { headers: vec![], ..thing("admin", ID, "", r#"{"title":"x"}"#) };
        assert_eq!(answer(other_type).1["error"]["details"][0]["code"], "invalid_type");
    }

    #[test]
    fn the_owner_is_known_by_the_path() {
        let asking = |role, id: &str| Request { route: 1, params: vec![id.into()], ..request_of(role) };
        assert_eq!(answer(asking("student", &ID.to_uppercase())).0, 200);
        assert_eq!(answer(asking("student", "no-id")).0, 403);
        assert_eq!(answer(asking("admin", "no-id")).0, 400);
        assert_eq!(answer(Request { route: 1, params: vec![ID.into()], ..bare_request() }).0, 401);
    }

    #[test]
    fn an_optional_body_may_be_absent_but_not_wrong() {
        let sent = |body: &str| answer(Request { route: 2, params: vec![], ..thing("admin", "", "", body) });
        let data = json!({ "message": "done", "search": null });
        assert_eq!([sent("").1, sent("{}").1].map(|answer| answer["data"].clone()), [data.clone(), data]);
        assert_eq!(sent("").1["message"], "done");
        assert_eq!([sent("[]").0, sent(r#"{"search":5}"#).0], [400, 400]);
    }

    #[test]
    fn what_is_read_late_is_judged_late() {
        assert_eq!(answer(Request { route: 2, params: vec![], ..thing("student", "", "", "no json") }).0, 403);
    }

    #[test]
    fn a_deprecated_route_says_so_whatever_it_answers() {
        let response = handle(&ROUTES, thing("student", ID, "", ""));
        assert_eq!(response.headers, [("deprecation".to_owned(), "true".to_owned())]);
    }

    #[test]
    fn routes_can_be_read_as_data() {
        let route = &ROUTES[0];
        assert_eq!((route.method, route.status, route.names()), (Method::Post, 201, ["thingId"].as_slice()));
        assert_eq!(route.inputs().len(), 3);
    }
}
