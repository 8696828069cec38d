//! Instructors: the profiles of users of that role.

use super::{
    UserId,
    users::{Address, FullName, NewUser, Phone},
};
use schemars::JsonSchema;
use sdk::{
    Code, Email, Error, Flaw, Int, Item, List, Patch, Principal, Problem, Problems, Role, Sent, Text, Timestamp,
    Whatsapp, codes,
    database::{Param, Value as Cell},
    field::{Field, Input},
    request::{Member, Request, Source},
    row,
};
use serde::Serialize;
use serde_json::{Value, json};

pub const INSTRUCTOR_HAS_SCHEDULES: Code = Code::new(409, "INSTRUCTOR_HAS_SCHEDULES");

row! {
    pub struct Profile {
        pub user_id: UserId,
        pub full_name: String,
        pub bio: Option<String>,
        pub specialization: Vec<String>,
        pub experience_years: Option<i64>,
        pub avatar_url: Option<String>,
        pub created_at: Timestamp,
        pub updated_at: Timestamp,
    }

    pub struct Contact {
        pub email: String,
        pub phone_number: Option<String>,
        pub wa_number: Option<String>,
    }

    /// All that is known of an instructor.
    pub struct Entry {
        pub profile: Profile as "",
        pub contact: Contact as "",
    }
}

/// As much of an instructor as somebody may see.
#[derive(JsonSchema, Serialize)]
pub struct Instructor {
    #[serde(flatten)]
    profile: Profile,
    #[serde(flatten)]
    contact: Option<Contact>,
}

impl Item for Instructor {
    const PLURAL: &'static str = "instructors";
}

pub type Bio = Text<0, 2000>;
pub type Experience = Int<0, 80>;
type Subjects = List<Text<0, 50>, 0, 20>;

/// What is taught: a list, or a text with commas.
#[derive(Clone, Debug, PartialEq)]
pub struct Specialization(Subjects);

impl Field for Specialization {
    fn parse(input: Input<'_>) -> Result<Self, Problems> {
        let Input::Json(Value::String(text)) = input else { return Subjects::parse(input).map(Self) };
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(Value::from);
        Subjects::parse(Input::Json(&parts.collect())).map(Self)
    }

    fn schema() -> Value {
        let text = json!({ "type": "string", "pattern": r"^[^\x00,]{0,50}(,[^\x00,]{0,50}){0,19}$" });
        json!({ "anyOf": [Subjects::schema(), text] })
    }
}

impl Param for Specialization {
    fn to_value(&self) -> Cell {
        self.0.to_value()
    }
}

sdk::request! {
    pub struct NewProfile {
        pub bio: Option<Bio>,
        pub specialization alias specialties: Option<Specialization>,
        pub experience_years: Option<Experience>,
    }
}

sdk::request! {
    /// Somebody who is not yet a user.
    pub struct NewPerson {
        pub email: Email,
        pub full_name: FullName,
        pub phone_number: Option<Phone>,
        pub wa_number: Option<Whatsapp>,
        pub address: Option<Address>,
    }
}

/// Who becomes an instructor.
pub enum Candidate {
    User(UserId),
    Person(NewPerson),
}

pub struct NewInstructor {
    pub candidate: Candidate,
    pub profile: NewProfile,
}

/// Not declared, because what is read depends on what is there: with `user_id`
/// the fields of a person are not even looked at.
impl Request for NewInstructor {
    fn read(source: &Source<'_>) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let candidate = match source.member::<Option<UserId>>(&["user_id"]) {
            Ok(Some(id)) => Ok(Candidate::User(id)),
            Ok(None) if source.member::<Sent>(&["email"])?.0 => NewPerson::read(source).map(Candidate::Person),
            Ok(None) => {
                Err(Problems::from(Problem::new(Flaw::InvalidType, "is required without email")).inside("user_id"))
            }
            Err(wrong) => Err(wrong),
        };
        match (problems.take(candidate), problems.take(NewProfile::read(source))) {
            (Some(candidate), Some(profile)) => Ok(Self { candidate, profile }),
            _ => Err(problems),
        }
    }

    fn members() -> Vec<Member> {
        let user = Member { name: "user_id", required: false, schema: UserId::schema() };
        let person = NewPerson::members().into_iter().map(|member| Member { required: false, ..member });
        std::iter::once(user).chain(NewProfile::members()).chain(person).collect()
    }

    fn object() -> Value {
        let user = json!({ "properties": { "user_id": UserId::schema() }, "required": ["user_id"] });
        let mut person = NewPerson::object();
        person["properties"]["user_id"] = json!({ "type": "null" });
        let mut schema = NewProfile::object();
        schema["anyOf"] = json!([user, person]);
        schema
    }
}

sdk::request! {
    pub partial struct ProfileChanges {
        pub bio: Patch<Option<Bio>>,
        pub specialization alias specialties: Patch<Specialization>,
        pub experience_years: Patch<Option<Experience>>,
    }
}

sdk::request! {
    pub struct InstructorFilter {
        pub search: Option<Text<0, 100>>,
        pub specialization: Option<Text<0, 50>>,
    }
}

impl Entry {
    /// How to reach an instructor is for admins and for the instructor.
    pub fn seen_by(self, viewer: &Principal) -> Instructor {
        let is_close = viewer.role == Role::Admin || viewer.user_id == self.profile.user_id.0;
        Instructor { profile: self.profile, contact: is_close.then_some(self.contact) }
    }
}

impl From<NewPerson> for NewUser {
    fn from(person: NewPerson) -> Self {
        Self {
            email: person.email,
            full_name: person.full_name,
            role: Role::Instructor,
            firebase_uid: None,
            phone_number: person.phone_number,
            wa_number: person.wa_number,
            address: person.address,
            avatar_url: None,
            provider: None,
            auth_provider: None,
            email_verified: None,
        }
    }
}

pub fn not_found() -> Error {
    Error::not_found("Instructor")
}

pub fn has_schedules() -> Error {
    Error::new(INSTRUCTOR_HAS_SCHEDULES, "The instructor has classes to come")
}

pub fn wrong_role() -> Error {
    Error::new(codes::INVALID_USER_ROLE, "The user is not an instructor")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flaws(body: Value) -> Vec<(String, Flaw)> {
        let object = body.as_object().cloned().unwrap_or_default();
        let problems = NewInstructor::read(&Source::Body(&object)).err().unwrap_or_default();
        problems.iter().map(|problem| (problem.field(), problem.flaw())).collect()
    }

    #[test]
    fn a_text_with_commas_is_a_list() {
        let cell = |value: Value| match Specialization::parse(Input::Json(&value)).map(|list| list.to_value()) {
            Ok(Cell::TextArray(list)) => Some(list),
            _ => None,
        };
        assert_eq!(cell(json!(" piano ,, jazz guitar,")), Some(vec!["piano".to_owned(), "jazz guitar".to_owned()]));
        assert_eq!(cell(json!("")), Some(vec![]));
        assert_eq!(cell(json!(["a,b"])), Some(vec!["a,b".to_owned()]));
        assert_eq!(cell(json!("x".repeat(51))), None);
        assert_eq!(cell(json!(vec!["x"; 21])), None);
        assert_eq!(cell(json!(5)), None);
    }

    #[test]
    fn with_a_user_the_fields_of_a_person_are_ignored() {
        let id = "00000000-0000-4000-8000-000000000000";
        assert_eq!(flaws(json!({ "user_id": id, "email": 5, "full_name": "" })), []);
        assert_eq!(flaws(json!({ "email": "a@example.org", "full_name": "Abc" })), []);
        assert_eq!(flaws(json!({ "full_name": "Abc" })), [("user_id".to_owned(), Flaw::InvalidType)]);
        let several = flaws(json!({ "email": "a", "experience_years": 81 }));
        let expected = [
            ("email".to_owned(), Flaw::InvalidString),
            ("full_name".to_owned(), Flaw::InvalidType),
            ("experience_years".to_owned(), Flaw::TooBig),
        ];
        assert_eq!(several, expected);
    }
}
