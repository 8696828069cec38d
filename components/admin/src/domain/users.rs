//! Users: who they are, and who may see and change them.

use super::UserId;
use schemars::JsonSchema;
use sdk::{
    Code, Email, Error, Flaw, Item, Patch, Principal, Problem, Problems, Role, Sent, Text, Timestamp, Whatsapp, choice,
    database::{Param, Value as Cell},
    field::{Field, Input},
    request, row,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub const USER_LAST_ADMIN: Code = Code::new(409, "USER_LAST_ADMIN");
pub const USER_SELF_DELETE: Code = Code::new(409, "USER_SELF_DELETE");

choice! {
    /// What a user logs in with, or where a user without login comes from.
    pub enum AuthProvider {
        Firebase = "firebase",
        Password = "password",
        CourseRegistration = "course_registration",
        Admin = "admin",
    }
}

row! {
    #[derive(Deserialize)]
    pub struct User {
        pub id: UserId,
        pub email: String,
        pub full_name: String,
        pub role: Role,
        pub phone_number: Option<String>,
        pub avatar_url: Option<String>,
        pub created_at: Timestamp,
        pub updated_at: Timestamp,
        pub last_login_at: Option<Timestamp>,
    }

    #[derive(Deserialize)]
    pub struct UserDetail {
        #[serde(flatten)]
        pub user: User as "",
        pub wa_number: Option<String>,
        pub address: Option<String>,
        pub email_verified: bool,
        pub auth_provider: AuthProvider,
    }

    /// A user whose row is locked.
    pub struct LockedUser {
        pub role: Role,
        pub firebase_uid: Option<String>,
    }

    pub struct Statistics {
        total_users: i64,
        total_admins: i64,
        total_instructors: i64,
        total_students: i64,
        new_registrations_this_month: i64,
        by_role: ByRole as "by_role_",
    }

    pub struct ByRole {
        admin: i64,
        instructor: i64,
        student: i64,
    }
}

impl Item for UserDetail {
    const PLURAL: &'static str = "users";
}

/// As much of a user as somebody may see.
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
pub enum View {
    Whole(UserDetail),
    Public(User),
}

pub type FullName = Text<2, 255>;
pub type Phone = Text<0, 25>;
pub type Address = Text<0, 1000>;

request! {
    pub struct NewUser {
        pub email: Email,
        pub full_name: FullName,
        pub role: Role,
        pub firebase_uid: Option<Text<1, 128>>,
        pub phone_number: Option<Phone>,
        pub wa_number: Option<Whatsapp>,
        pub address: Option<Address>,
        pub avatar_url: Option<AvatarUrl>,
        pub provider: Option<Text<0, 255>>,
        pub auth_provider: Option<AuthProvider>,
        pub email_verified: Option<bool>,
    }
    where fits_credential(auth_provider, role, firebase_uid)
}

request! {
    pub partial struct UserChanges {
        pub full_name: Patch<FullName>,
        pub phone_number: Patch<Option<Phone>>,
        pub wa_number: Patch<Option<Whatsapp>>,
        pub address: Patch<Option<Address>>,
        pub avatar_url: Patch<Option<AvatarUrl>>,
        // For admins.
        pub email: Patch<Email>,
        pub role: Patch<Role>,
        pub email_verified: Patch<bool>,
        // For nobody.
        id: Sent,
        passwords as "password*": Sent,
        firebase_uid: Sent,
        auth_provider: Sent,
        created_at: Sent,
        updated_at: Sent,
        last_login_at: Sent,
        deleted_at: Sent,
    }
}

request! {
    pub struct UserFilter {
        pub role: Option<Role>,
        pub search: Option<Text<0, 100>>,
        pub email: Option<Text<0, 100>>,
    }
}

request! {
    pub struct ByEmail {
        pub email: Email,
    }
}

/// An `https` URL of at most 1000 characters.
#[derive(Clone, Debug, PartialEq)]
pub struct AvatarUrl(String);

impl Field for AvatarUrl {
    fn parse(input: Input<'_>) -> Result<Self, Problems> {
        let text = <Text<0, 1000>>::parse(input)?;
        let text = text.as_str();
        let is_host = |host: &str| {
            host.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b))
        };
        // RFC 3986, appendix A: what no URL contains.
        let is_clean = text.bytes().all(|b| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b));
        let host = text.strip_prefix("https://").and_then(|rest| rest.split(['/', '?', '#']).next());
        if !is_clean || !host.is_some_and(is_host) {
            return Err(Problem::new(Flaw::InvalidString, "must be an https URL").into());
        }
        Ok(Self(text.to_owned()))
    }

    fn schema() -> Value {
        let pattern = r"^https://[A-Za-z0-9\[][A-Za-z0-9.:\[\]\-]*([/?#][!#-;=?-\[\]_a-z~]*)?$";
        json!({ "type": "string", "pattern": pattern, "maxLength": 1000 })
    }
}

impl Param for AvatarUrl {
    fn to_value(&self) -> Cell {
        self.0.to_value()
    }
}

/// The rules of `users_auth_method_check` and `users_admin_credential_check`,
/// as far as they can hold for somebody without a password.
fn fits_credential(
    provider: &Option<AuthProvider>,
    role: &Role,
    firebase_uid: &Option<Text<1, 128>>,
) -> Result<(), Problem> {
    let broken = match (provider, role, firebase_uid) {
        (Some(AuthProvider::Password), ..) => Some(("auth_provider", "password is not possible without a password")),
        (Some(AuthProvider::Firebase), _, None) => Some(("firebase_uid", "is required for auth_provider firebase")),
        (_, Role::Admin, None) => Some(("firebase_uid", "is required for role admin")),
        _ => None,
    };
    broken.map_or(Ok(()), |(field, message)| Err(Problem::custom(field, message)))
}

impl NewUser {
    pub fn auth_provider(&self) -> AuthProvider {
        let default = if self.firebase_uid.is_some() { AuthProvider::Firebase } else { AuthProvider::Admin };
        self.auth_provider.unwrap_or(default)
    }
}

impl UserChanges {
    /// Whether somebody of that role may make them, to their own row or, as an
    /// admin, to any.
    pub fn are_allowed_to(&self, role: Role) -> bool {
        let never = [
            self.id,
            self.passwords,
            self.firebase_uid,
            self.auth_provider,
            self.created_at,
            self.updated_at,
            self.last_login_at,
            self.deleted_at,
        ];
        let for_admins = self.email.is_set() || self.role.is_set() || self.email_verified.is_set();
        !never.contains(&Sent(true)) && (role == Role::Admin || !for_admins)
    }
}

impl UserDetail {
    /// What that user may see, if anything; a service, which is no user, sees
    /// everything.
    pub fn seen_by(self, viewer: Option<&Principal>) -> Option<View> {
        let Some(viewer) = viewer else { return Some(View::Whole(self)) };
        match (viewer.role, self.user.role) {
            _ if viewer.user_id == self.user.id.0 => Some(View::Whole(self)),
            (Role::Admin, _) => Some(View::Whole(self)),
            (Role::Instructor, Role::Student | Role::Instructor) => Some(View::Public(self.user)),
            (Role::Instructor, Role::Admin) | (Role::Student, _) => None,
        }
    }
}

pub fn not_found() -> Error {
    Error::not_found("User")
}

pub fn last_admin() -> Error {
    Error::new(USER_LAST_ADMIN, "At least one admin has to remain")
}

pub fn self_delete() -> Error {
    Error::new(USER_SELF_DELETE, "You cannot delete yourself")
}

pub fn no_credential() -> Error {
    Problem::custom("role", "admin needs a Firebase account or a password").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sdk::{
        Uuid,
        request::{Request, Source},
    };

    fn id(digit: char) -> Option<Uuid> {
        Uuid::parse(&"00000000-0000-4000-8000-00000000000_".replace('_', &digit.to_string()))
    }

    fn read<T: Request>(body: Value) -> Result<T, Vec<String>> {
        let object = body.as_object().cloned().unwrap_or_default();
        T::read(&Source::Body(&object)).map_err(|problems| problems.iter().map(Problem::field).collect())
    }

    #[test]
    fn a_new_user_has_a_credential_that_fits() {
        let provider = |changes: Value| {
            let mut body = json!({ "email": "a@example.org", "full_name": "Abc", "role": "student" });
            body.as_object_mut().into_iter().for_each(|b| b.extend(changes.as_object().cloned().unwrap_or_default()));
            read::<NewUser>(body).map(|new| new.auth_provider().word())
        };
        assert_eq!(provider(json!({})), Ok("admin"));
        assert_eq!(provider(json!({ "firebase_uid": "u" })), Ok("firebase"));
        assert_eq!(provider(json!({ "auth_provider": "course_registration" })), Ok("course_registration"));
        assert_eq!(provider(json!({ "role": "admin", "firebase_uid": "u", "auth_provider": "admin" })), Ok("admin"));
        assert_eq!(provider(json!({ "auth_provider": "firebase" })), Err(vec!["firebase_uid".to_owned()]));
        assert_eq!(provider(json!({ "role": "admin" })), Err(vec!["firebase_uid".to_owned()]));
        let password = json!({ "auth_provider": "password", "firebase_uid": "u" });
        assert_eq!(provider(password), Err(vec!["auth_provider".to_owned()]));
    }

    #[test]
    fn nobody_sets_what_is_not_theirs() {
        let allowed =
            |body| read::<UserChanges>(body).map(|c| (c.are_allowed_to(Role::Student), c.are_allowed_to(Role::Admin)));
        assert_eq!(allowed(json!({ "full_name": "Abc", "else": 1 })), Ok((true, true)));
        for field in ["email", "role", "email_verified"] {
            let value = json!({ "email": "a@example.org", "role": "admin", "email_verified": true })[field].clone();
            assert_eq!(allowed(json!({ field: value })), Ok((false, true)), "{field}");
        }
        for field in ["id", "password", "password_hash", "passwordHash", "firebase_uid", "auth_provider", "created_at"]
        {
            assert_eq!(allowed(json!({ field: null, "full_name": "Abc" })), Ok((false, false)), "{field}");
        }
        assert_eq!(allowed(json!({ "firebase_uid": 1, "full_name": "A" })), Err(vec!["full_name".to_owned()]));
        assert_eq!(allowed(json!({ "else": 1 })), Err(vec![String::new()]));
    }

    #[test]
    fn instructors_see_a_part_of_students_and_each_other() {
        let user = |role| {
            Some(UserDetail {
                user: User {
                    id: UserId(id('1')?),
                    email: "a@example.org".into(),
                    full_name: "Abc".into(),
                    role,
                    phone_number: None,
                    avatar_url: None,
                    created_at: Timestamp::from_seconds(0),
                    updated_at: Timestamp::from_seconds(0),
                    last_login_at: None,
                },
                wa_number: None,
                address: None,
                email_verified: false,
                auth_provider: AuthProvider::Admin,
            })
        };
        let sight = |role, who, seen| {
            let viewer = Principal { user_id: id(who)?, email: String::new(), role, session_id: id('9')? };
            Some(match user(seen)?.seen_by(Some(&viewer)) {
                Some(View::Whole(_)) => "whole",
                Some(View::Public(_)) => "public",
                None => "nothing",
            })
        };
        for seen in [Role::Admin, Role::Instructor, Role::Student] {
            assert_eq!(sight(Role::Admin, '2', seen), Some("whole"));
            assert_eq!(sight(seen, '1', seen), Some("whole"));
            assert_eq!(sight(Role::Student, '2', seen), Some("nothing"));
        }
        assert_eq!(sight(Role::Instructor, '2', Role::Admin), Some("nothing"));
        assert_eq!(sight(Role::Instructor, '2', Role::Instructor), Some("public"));
        assert_eq!(sight(Role::Instructor, '2', Role::Student), Some("public"));
        assert!(matches!(user(Role::Admin).and_then(|user| user.seen_by(None)), Some(View::Whole(_))));
    }

    #[test]
    fn an_avatar_has_an_https_url() {
        let is_url = |text: &str| AvatarUrl::parse(Input::Text(text)).is_ok();
        for text in
            ["https://example.org", "https://example.org:8443/a.png?x=1#y", "https://[::1]/a", " https://a.b/c "]
        {
            assert!(is_url(text), "{text}");
        }
        let long = format!("https://example.org/{}", "a".repeat(1000));
        for text in [
            "",
            "https://",
            "http://example.org",
            "javascript:alert(1)",
            "https://a b",
            "https:///a",
            "https://a/<b>",
            &long,
        ] {
            assert!(!is_url(text), "{text}");
        }
    }
}
