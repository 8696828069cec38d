//! The route table, and the way of a request through it.
//!
//! The order of judgement, the first failure answers: role, and ownership that
//! the path alone decides (403) → path, query and body, all problems at once
//! (400) → the handler. What comes before is the host's.

use crate::{
    __private::{Request, Response, RouteRow},
    bindings::shema::http::types,
    call::{Call, Role},
    error::{Code, Error, Result, codes},
    extract::{Extract, Input},
    log,
    problem::Problems,
    reply::{Answers, Reply},
    time::Timestamp,
};
use schemars::SchemaGenerator;
use serde_json::{Map, Value};

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
    /// False for files, which are no part of the API.
    pub described: bool,
    /// Of the handler, with its modules.
    pub handler: &'static str,
    /// The header of a credential of its own, and whether there has to be one.
    pub token: Option<(&'static str, bool)>,
    names: Vec<&'static str>,
    failures: &'static [Code],
    inputs: fn() -> Vec<Input>,
    answers: fn(&mut SchemaGenerator, Option<Value>) -> Answers,
    run: Run,
}

/// From the extraction of the arguments to the response.
type Run = Box<dyn Fn(&Call) -> Result<Response> + Send + Sync>;

impl Route {
    /// What the route reads of a request, by which rules.
    pub fn inputs(&self) -> Vec<Input> {
        (self.inputs)()
    }

    /// The parameters of the path, in their order.
    pub fn names(&self) -> &[&'static str] {
        &self.names
    }

    /// The statuses of success, each with the schema of its body.
    pub fn answers(&self, schemas: &mut SchemaGenerator) -> Answers {
        (self.answers)(schemas, None)
    }

    pub fn deprecated(self) -> Self {
        Self { deprecated: true, ..self }
    }

    /// Refusals by rules of the domain: what the declaration of the route does
    /// not say already.
    pub fn fails(self, failures: &'static [Code]) -> Self {
        Self { failures, ..self }
    }

    /// Who calls needs a credential in that header, instead of what `access`
    /// asks for.
    pub fn needs_token(self, header: &'static str) -> Self {
        Self { token: Some((header, true)), ..self }
    }

    /// A credential in that header is looked at if there is one.
    pub fn takes_token(self, header: &'static str) -> Self {
        Self { token: Some((header, false)), ..self }
    }

    /// All refusals that a client can get, be they the handler's, this crate's
    /// or the host's.
    pub fn failures(&self) -> Vec<Code> {
        let user = [
            codes::AUTH_MISSING_TOKEN,
            codes::AUTH_INVALID_FORMAT,
            codes::AUTH_INVALID_TOKEN,
            codes::AUTH_TOKEN_EXPIRED,
            codes::AUTH_UNAUTHORIZED,
            codes::AUTH_NO_ROLE,
        ];
        let service = [codes::SERVICE_AUTH_MISSING, codes::SERVICE_AUTH_INVALID];
        let mut all: Vec<Code> = match self.access {
            Access::Public | Access::Optional | Access::Internal => vec![],
            Access::User => user.to_vec(),
            Access::Roles(_) | Access::OwnerOr(..) => [&user[..], &[codes::AUTH_FORBIDDEN]].concat(),
            Access::Service => service.to_vec(),
            Access::UserOrService => [&user[..], &service].concat(),
        };
        let has_body = matches!(self.method, Method::Post | Method::Put | Method::Patch);
        if has_body {
            all.push(codes::PAYLOAD_TOO_LARGE);
        }
        if has_body || !self.inputs().is_empty() {
            all.push(codes::VALIDATION_ERROR);
        }
        all.extend([
            codes::ROUTE_NOT_FOUND,
            codes::METHOD_NOT_ALLOWED,
            codes::RATE_LIMIT_EXCEEDED,
            codes::DB_QUERY_ERROR,
            codes::INTERNAL_SERVER_ERROR,
            codes::DB_CONNECTION_ERROR,
            codes::SERVICE_UNAVAILABLE,
            codes::REQUEST_TIMEOUT,
        ]);
        all.extend(self.failures.iter().filter(|code| !all.contains(code)).copied().collect::<Vec<_>>());
        all
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
        described: H::IS_DESCRIBED,
        handler: std::any::type_name::<H>(),
        token: None,
        failures: &[],
        answers: H::answers,
        names: path.split('/').filter_map(|segment| segment.strip_prefix(':')).collect(),
        inputs: H::inputs,
        run: Box::new(move |call| handler.run(call)),
    }
}

/// A function of the call and of what its arguments extract.
pub trait Handler<A>: Send + Sync + 'static {
    const STATUS: u16;
    const IS_DESCRIBED: bool;

    fn run(&self, call: &Call) -> Result<Response>;

    fn inputs() -> Vec<Input>;

    fn answers(schemas: &mut SchemaGenerator, meta: Option<Value>) -> Answers;
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
            const IS_DESCRIBED: bool = R::IS_DESCRIBED;

            #[allow(non_snake_case, unused_mut, irrefutable_let_patterns)]
            fn run(&self, call: &Call) -> Result<Response> {
                let mut problems = Problems::default();
                $(let $argument = problems.take($argument::extract(call));)*
                let ($(Some($argument),)*) = ($($argument,)*) else { return Err(problems.into()) };
                let reply = self(call, $($argument),*)?;
                let body = reply.body(call, Map::new()).map_err(|error| Error::internal(error.to_string()))?;
                let headers = reply.headers().iter().map(|(name, value)| (name.to_string(), value.to_string()));
                Ok(Response { status: reply.status(), headers: headers.collect(), body })
            }

            fn inputs() -> Vec<Input> {
                let inputs: Vec<Vec<Input>> = vec![$($argument::inputs()),*];
                inputs.concat()
            }

            fn answers(schemas: &mut SchemaGenerator, meta: Option<Value>) -> Answers {
                R::answers(schemas, meta)
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
        (route.run)(&call)
    });
    let mut response = result.unwrap_or_else(|error| {
        if let Some(cause) = error.cause() {
            log::error(&cause);
        }
        if let Some(route) = route.filter(|route| !route.failures().contains(&error.code())) {
            // Clients go by what is declared, so a code too many is a mistake.
            log::error(&format!("{} answers {}, which its route does not declare", route.handler, error.code().name));
        }
        Response { status: error.code().status, headers: vec![], body: error.body(&id, received_at) }
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
    if admitted { Ok(()) } else { Err(call.forbidden()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Ack, Body, Created, Data, File, OptionalBody, Path, Query, Text, Unread, Uuid,
        call::tests::{bare_request, request_of},
        request,
    };
    use schemars::JsonSchema;
    use serde::Serialize;
    use serde_json::json;
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

    #[derive(JsonSchema, Serialize)]
    struct Found {
        search: bool,
    }

    fn late(call: &Call, body: Unread<OptionalBody<Filter>>) -> Result<Ack<Found>> {
        if call.has_role(Role::Student) {
            return Err(call.forbidden());
        }
        body.read(call).map(|OptionalBody(filter)| Ack::new("done").with(Found { search: filter.search.is_some() }))
    }

    fn page(_: &Call) -> Result<File> {
        Ok(File { headers: &[("content-type", "text/html")], text: "<p>" })
    }

    static ROUTES: LazyLock<Vec<Route>> = LazyLock::new(|| {
        vec![
            post("/api/things/:thingId", Access::Roles(&[Role::Admin]), echo).deprecated(),
            get("/api/users/:id", Access::OwnerOr("id", &[Role::Admin]), own),
            post("/api/late", Access::Public, late).fails(&[codes::AUTH_FORBIDDEN]),
            get("/page", Access::Public, page),
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
        let data = json!({ "message": "done", "search": false });
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
    fn a_file_is_answered_as_it_is() {
        let response = handle(&ROUTES, Request { route: 3, params: vec![], ..bare_request() });
        assert_eq!((response.status, response.body.as_slice()), (200, b"<p>".as_slice()));
        assert_eq!(response.headers, [("content-type".to_owned(), "text/html".to_owned())]);
        assert!(!ROUTES[3].described && ROUTES[0].described);
    }

    #[test]
    fn routes_can_be_read_as_data() {
        let route = &ROUTES[0];
        assert_eq!((route.method, route.status, route.names()), (Method::Post, 201, ["thingId"].as_slice()));
        assert_eq!(route.inputs().len(), 3);
        let statuses: Vec<u16> = route.failures().iter().map(|code| code.status).collect();
        assert!([400, 401, 403, 404, 405, 413, 429, 500, 503, 504].iter().all(|status| statuses.contains(status)));
        let public: Vec<u16> = ROUTES[2].failures().iter().map(|code| code.status).collect();
        assert!(!public.contains(&401) && public.contains(&403), "{public:?}");
    }
}
