//! Lists in pages.

use crate::{
    call::{Call, Role},
    extract::{Extract, Input},
    field::Int,
    problem::Problems,
    request::{Member, Presence, Source},
    value::Value as Cell,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer, ser::SerializeMap};
use std::borrow::Cow;

/// Which part of a list is asked for. Admins may ask for longer pages.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Page {
    number: i64,
    limit: i64,
}

type Number = Int<1, { i64::MAX }>;
type Limit = Int<1, 100>;
type AdminLimit = Int<1, 1000>;

impl Page {
    const DEFAULT_LIMIT: i64 = 20;

    /// For `limit $n`.
    pub fn limit(&self) -> Cell {
        Cell::Integer(self.limit)
    }

    /// For `offset $n`. A page beyond every list is an empty one.
    pub fn offset(&self) -> Cell {
        Cell::Integer(self.skipped())
    }

    fn skipped(&self) -> i64 {
        (self.number - 1).saturating_mul(self.limit)
    }
}

impl Extract for Page {
    fn extract(call: &Call) -> Result<Self, Problems> {
        let query = Source::Query(call.query());
        let mut problems = Problems::default();
        let number = problems.take(query.member::<Option<Number>>(&["page"]));
        let limit = problems.take(if call.has_role(Role::Admin) {
            query.member::<Option<AdminLimit>>(&["limit"]).map(|limit| limit.map(Int::get))
        } else {
            query.member::<Option<Limit>>(&["limit"]).map(|limit| limit.map(Int::get))
        });
        match (number, limit) {
            (Some(number), Some(limit)) => {
                Ok(Self { number: number.map_or(1, Int::get), limit: limit.unwrap_or(Self::DEFAULT_LIMIT) })
            }
            _ => Err(problems),
        }
    }

    fn inputs() -> Vec<Input> {
        let number = Member { name: "page", required: false, schema: <Number as Presence>::schema() };
        let mut limit = Member { name: "limit", required: false, schema: <AdminLimit as Presence>::schema() };
        limit.schema["default"] = Self::DEFAULT_LIMIT.into();
        limit.schema["description"] = "More than 100 only for admins.".into();
        vec![Input::Query(vec![number, limit])]
    }
}

/// What lists hold.
pub trait Item {
    /// The noun under which a list of them is answered.
    const PLURAL: &'static str;
}

/// One page of a list, under the plural noun of what it holds.
pub struct Listing<T> {
    items: Vec<T>,
    page: Page,
    total: i64,
}

impl<T> Listing<T> {
    /// Reads the page, and counts the items of all pages unless the page tells
    /// their number: it does if it is not full, for the list ends in it.
    pub fn read<E>(
        page: Page,
        items: impl FnOnce() -> Result<Vec<T>, E>,
        count: impl FnOnce() -> Result<i64, E>,
    ) -> Result<Self, E> {
        let items = items()?;
        let found = i64::try_from(items.len()).unwrap_or(i64::MAX);
        let ends_here = found < page.limit && (found > 0 || page.number == 1);
        let total = if ends_here { page.skipped().saturating_add(found) } else { count()? };
        Ok(Self { items, page, total })
    }
}

/// Where in the list the page stands.
#[derive(JsonSchema, Serialize)]
struct Pagination {
    page: i64,
    limit: i64,
    total: i64,
    total_pages: i64,
}

impl<T: Item + Serialize> Serialize for Listing<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { page: Page { number, limit }, total, .. } = *self;
        let total_pages = total / limit + i64::from(total % limit > 0);
        let pagination = Pagination { page: number, limit, total, total_pages };
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry(T::PLURAL, &self.items)?;
        map.serialize_entry("pagination", &pagination)?;
        map.end()
    }
}

impl<T: Item + JsonSchema> JsonSchema for Listing<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        T::PLURAL.into()
    }

    fn json_schema(schemas: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "properties": {
                T::PLURAL: schemas.subschema_for::<Vec<T>>(),
                "pagination": schemas.subschema_for::<Pagination>(),
            },
            "required": [T::PLURAL, "pagination"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        __private::Request,
        call::tests::{bare_request, request_of},
        problem::Flaw,
    };
    use serde_json::{Value, json};

    impl Item for i64 {
        const PLURAL: &'static str = "rooms";
    }

    fn page(request: Request, query: &str) -> Result<Page, Vec<(String, Flaw)>> {
        let call = Call::new(Request { query: query.into(), ..request }, &[]).map_err(|_| vec![])?;
        Page::extract(&call).map_err(|problems| problems.iter().map(|p| (p.field(), p.flaw())).collect())
    }

    #[test]
    fn only_admins_may_ask_for_more_than_a_hundred() {
        assert_eq!(page(bare_request(), ""), Ok(Page { number: 1, limit: 20 }));
        assert_eq!(page(request_of("admin"), "page=3&limit=1000"), Ok(Page { number: 3, limit: 1000 }));
        assert_eq!(page(request_of("student"), "limit=101"), Err(vec![("limit".into(), Flaw::TooBig)]));
        assert_eq!(
            page(bare_request(), "page=0&limit=x"),
            Err(vec![("page".into(), Flaw::TooSmall), ("limit".into(), Flaw::InvalidType)])
        );
    }

    /// Two of a page of two, out of five.
    fn listing(number: i64, items: Vec<i64>) -> Value {
        let page = Page { number, limit: 2 };
        json!(Listing::read(page, || Ok::<_, ()>(items), || Ok(5)).ok())
    }

    #[test]
    fn a_full_page_is_followed_by_others() {
        let expected = json!({ "page": 1, "limit": 2, "total": 5, "total_pages": 3 });
        assert_eq!(listing(1, vec![1, 2]), json!({ "rooms": [1, 2], "pagination": expected }));
    }

    #[test]
    fn a_page_that_is_not_full_tells_the_total() {
        assert_eq!(listing(1, vec![])["pagination"], json!({ "page": 1, "limit": 2, "total": 0, "total_pages": 0 }));
        assert_eq!(listing(2, vec![1])["pagination"]["total"], json!(3));
    }

    #[test]
    fn a_page_past_the_end_does_not() {
        assert_eq!(listing(9, vec![])["pagination"], json!({ "page": 9, "limit": 2, "total": 5, "total_pages": 3 }));
    }

    #[test]
    fn no_page_number_overflows() {
        let huge = Page { number: i64::MAX, limit: 1000 };
        assert!(matches!(huge.offset(), Cell::Integer(i64::MAX)));
    }
}
