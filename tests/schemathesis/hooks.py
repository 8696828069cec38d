"""What Schemathesis cannot know: how to log in, which things there are, and which
rules no JSON schema can say."""

import base64
import hashlib
import hmac
import json
import os
import time
import urllib.request
import uuid
import zlib
from datetime import datetime

import schemathesis
from schemathesis.specs.openapi.checks import positive_data_acceptance

URL = os.environ["SHEMA_URL"]
AS_ADMIN = os.environ["SHEMA_AS"] == "admin"
ADMIN = "admin@demo.shema.example"


def call(path, body=None, token=None):
    request = urllib.request.Request(URL + path, data=body and json.dumps(body).encode())
    request.add_header("content-type", "application/json")
    if token:
        request.add_header("authorization", f"Bearer {token}")
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["data"]


def log_in():
    return call("/api/auth/login", {"email": ADMIN, "password": os.environ["SHEMA_PASSWORD"]})["accessToken"]


def service_token():
    part = lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")
    now = int(time.time())
    claims = {"service": "tests", "type": "service-to-service", "aud": "admin", "iat": now, "exp": now + 300}
    signed = part({"alg": "HS256", "typ": "JWT"}) + b"." + part(claims)
    key = os.environ["SHEMA_SERVICE_SECRET"].encode()
    signature = base64.urlsafe_b64encode(hmac.new(key, signed, hashlib.sha256).digest()).rstrip(b"=")
    return (signed + b"." + signature).decode()


TOKEN = log_in()
CHAT = call("/api/cs/sessions", {"guest_name": "Guest", "guest_email": "guest@example.org", "initial_message": "Hi"})


def ids(path, key, name="id"):
    found = call(f"{path}?limit=50", token=TOKEN)[key]
    # Whoever tests stays what they are.
    return [item[name] for item in found if item.get("email") != ADMIN]


def register(course):
    body = {
        "full_name": "Siti Rahma", "wa_number": "+628111222333", "email": f"{uuid.uuid4()}@example.org",
        "course_id": course, "experience_level": "beginner", "preferred_days": ["monday"], "consent": True,
        "captcha_token": "t", "preferred_time_range": {"start": "09:00", "end": "11:00"},
        "idempotency_key": str(uuid.uuid4()),
    }
    return call("/api/booking/register-course", body)["id"]


COURSES = ids("/api/courses/active", "courses")
USERS = ids("/api/users", "users")
INSTRUCTORS = ids("/api/instructors", "instructors", "user_id")
ROOMS = ids("/api/rooms", "rooms")
SCHEDULES = ids("/api/schedules", "schedules")
BOOKINGS = [register(course) for course in COURSES[:3] for _ in range(5)]
KNOWN = {
    "course_id": COURSES, "room_id": ROOMS, "instructor_id": INSTRUCTORS, "student_id": USERS, "user_id": USERS,
    "admin_id": USERS, "userId": USERS, "schedule_id": SCHEDULES, "scheduleId": SCHEDULES, "booking_id": BOOKINGS,
    "bookingId": BOOKINGS, "first_choice_slot_id": SCHEDULES, "second_choice_slot_id": SCHEDULES,
    "sessionId": [CHAT["session"]["id"]],
}
# What `id` is, by the beginning of the path.
BY_PATH = {
    "/api/courses": COURSES, "/api/rooms": ROOMS, "/api/schedules": SCHEDULES, "/api/users": USERS,
    "/api/booking/enrollments": [], "/api/booking": BOOKINGS,
}


def real(name, value, path):
    """Every other well-formed id becomes one of a thing that is there."""
    known = KNOWN.get(name)
    if name == "id":
        known = next((known for start, known in BY_PATH.items() if path.startswith(start)), None)
    try:
        number = uuid.UUID(value).int
    except (ValueError, AttributeError, TypeError):
        return value
    return known[number // 2 % len(known)] if known and number % 2 else value


@schemathesis.hook
def before_call(context, case, kwargs):
    # Stateful testing fills paths with what it finds in answers, and writes the
    # null of an optional id as "None".
    for name, value in (case.path_parameters or {}).items():
        if value in [None, "None"]:
            case.path_parameters[name] = str(uuid.uuid4())
    for members in [case.path_parameters, case.query, case.body]:
        if isinstance(members, dict):
            for name, value in members.items():
                members[name] = real(name, value, case.path)


    if isinstance(case.body, dict):
        case.body.update(plausible(case.body))


def is_time(text):
    try:
        return text[10] in "Tt" and datetime.fromisoformat(text.upper()).tzinfo is not None
    except (TypeError, ValueError, IndexError, AttributeError, KeyError):
        return False


def plausible(body):
    """Every other class is to come, and every other password is a strong one: by
    chance they never are."""
    start, end, password = body.get("start_time"), body.get("end_time"), body.get("password")
    chosen = lambda text: zlib.crc32(text.encode()) % 2 == 0
    if is_time(start) and is_time(end) and chosen(start):
        day = 1 + zlib.crc32(end.encode()) % 28
        return {"start_time": f"2099-{start[5:7]}-{day:02}T09:00:00Z", "end_time": f"2099-{start[5:7]}-{day:02}T10:00:00Z"}
    if isinstance(password, str) and 8 <= len(password) <= 120 and chosen(password):
        return {"password": f"Passw0rd{password[8:]}"}
    return {}


def opened_by(case):
    return {name for way in case.operation.definition.raw.get("security", []) for name in way}


@schemathesis.auth(refresh_interval=None)
class Credentials:
    """Of an admin, of a service, or of a guest of the chat."""

    def get(self, case, context):
        ways = opened_by(case)
        if not AS_ADMIN or not ways:
            return {}
        if ways == {"service"}:
            return {"X-Service-Token": service_token()}
        if ways == {"X-Session-Token"}:
            return {"X-Session-Token": CHAT["session_token"]}
        # A logout ends the session, so it gets one of its own.
        return {"Authorization": f"Bearer {log_in() if case.path.endswith('/logout') else TOKEN}"}

    def set(self, case, data, context):
        case.headers.update(data)


# Rules across fields, and rules about what is in the database: a request can
# keep to its schema and break them all the same. Everything else that is valid
# by its schema has to be accepted.
RULES = [
    "must not be below min_price",
    "must not be before start_date",
    "cannot be combined with another cursor",
    "must be after start",
    "admin needs a Firebase account or a password",
    "password is not possible without a password",
    "is required for auth_provider firebase",
    "is required for role admin",
    "is no message of this session",
    "is the id of another sender's message",
    "is not the booking's",
]


def breaks_a_rule(response):
    error = response.json().get("error", {})
    if error.get("code") != "VALIDATION_ERROR":
        # Refusals with a code of their own are about the state of things.
        return error.get("code") in documented_codes
    problems = error.get("details", [])
    # Longer pages than 100 are for admins; the schema has to name one bound.
    for_admins = lambda p: not AS_ADMIN and (p["field"], p["code"]) == ("limit", "too_big")
    # Seats have to fit into the room, which the schema does not know.
    in_room = lambda p: p["field"] == "max_attendees" and p["message"].endswith("the room's capacity")
    return bool(problems) and all(p["message"] in RULES or for_admins(p) or in_room(p) for p in problems)


with urllib.request.urlopen(f"{URL}/api/openapi.json") as answer:
    responses = json.load(answer)["components"]["responses"]
documented_codes = {
    code for name, response in responses.items() if ".400-" in name for code in response["description"].split(", ")
}


@schemathesis.check
def valid_input_is_accepted(ctx, response, case):
    if response.status_code == 400 and breaks_a_rule(response):
        return None
    return positive_data_acceptance(ctx, response, case)
