//! SCH-1 to SCH-6.

use super::check_teacher;
use crate::{
    domain::{
        ScheduleId,
        attendance::Attendance,
        schedules::{self, AvailableFilter, Lengths, NewSchedule, Plan, Schedule, ScheduleChanges, ScheduleFilter},
    },
    store,
};
use schemars::JsonSchema;
use sdk::{
    Ack, Body, Call, Created, Data, Error, Id, Int, Listing, Page, Path, Query, Result,
    database::{Transaction, transaction},
    events::{self, Event},
    settings,
};
use serde::Serialize;
use serde_json::json;

#[derive(JsonSchema, Serialize)]
pub struct ScheduleDetail {
    #[serde(flatten)]
    schedule: Schedule,
    attendees: Vec<Attendance>,
}

pub fn list_available(_: &Call, Query(filter): Query<AvailableFilter>, page: Page) -> Result<Data<Listing<Schedule>>> {
    let listing = Listing::read(
        page,
        || store::list_available_schedules(&filter, page),
        || store::count_available_schedules(&filter),
    )?;
    Ok(Data(listing))
}

pub fn list(_: &Call, Query(filter): Query<ScheduleFilter>, page: Page) -> Result<Data<Listing<Schedule>>> {
    let listing = Listing::read(page, || store::list_schedules(&filter, page), || store::count_schedules(&filter))?;
    Ok(Data(listing))
}

pub fn show(_: &Call, Path(id): Path<ScheduleId>) -> Result<Data<ScheduleDetail>> {
    let schedule = store::find_schedule(&id)?.ok_or_else(schedules::not_found)?;
    Ok(Data(ScheduleDetail { schedule, attendees: store::list_attendees(&id)? }))
}

pub fn create(call: &Call, Body(new): Body<NewSchedule>) -> Result<Created<Schedule>> {
    let wanted = new.max_attendees.map(Int::get);
    let plan = Plan {
        course_id: new.course_id,
        instructor_id: new.instructor_id,
        room_id: new.room_id,
        start_time: new.start_time,
        end_time: new.end_time,
    };
    plan.check_times(lengths())?;

    let created = transaction(|transaction| {
        store::lock_calendars(transaction, &plan)?;
        let placement = store::lock_placement(transaction, &plan)?;
        plan.check_future(placement.now)?;
        check_teacher(call, &plan.instructor_id)?;
        placement.check_course()?;
        placement.check_instructor()?;
        placement.check_room()?;
        let seats = placement.seats(wanted)?;
        schedules::check_free(&store::list_conflicts(&plan, None)?)?;
        let schedule = store::insert_schedule(transaction, &plan, seats, &call.user()?.user_id)?;
        announce(transaction, &schedule)?;
        Ok(schedule)
    });
    created.map(Created).map_err(|error| refused(error, &plan, None))
}

pub fn update(call: &Call, Path(id): Path<ScheduleId>, Body(changes): Body<ScheduleChanges>) -> Result<Data<Schedule>> {
    let wanted = changes.max_attendees.as_option().copied().map(Int::get);
    // For the answer, if PostgreSQL refuses what was planned in the end.
    let mut planned = None;

    let updated = transaction(|transaction| {
        let schedule = store::lock_schedule(transaction, &id)?.ok_or_else(schedules::not_found)?;
        check_teacher(call, &schedule.plan.instructor_id)?;
        let plan = &*planned.insert(schedule.plan.with(&changes));
        check_teacher(call, &plan.instructor_id)?;
        schedule.check_move(plan, lengths())?;
        let moves = *plan != schedule.plan;
        if moves {
            store::lock_calendars(transaction, plan)?;
        }
        let placement = store::lock_placement(transaction, plan)?;
        schedule.check_placement(plan, &placement)?;
        let seats = schedule.seats(plan, &placement, wanted)?;
        if moves {
            schedules::check_free(&store::list_conflicts(plan, Some(&id))?)?;
        }
        Ok(store::update_schedule(transaction, &id, plan, seats)?)
    });
    updated.map(Data).map_err(|error| match &planned {
        Some(plan) => refused(error, plan, Some(&id)),
        None => error,
    })
}

pub fn delete(_: &Call, Path(id): Path<ScheduleId>) -> Result<Ack<Id<ScheduleId>>> {
    if store::delete_schedule(&id)? {
        return Ok(Ack::new("Schedule deleted").with(Id { id }));
    }
    Err(match store::find_schedule(&id)? {
        Some(_) => schedules::has_attendees(),
        None => schedules::not_found(),
    })
}

fn announce(transaction: &Transaction, schedule: &Schedule) -> Result<()> {
    events::publish(
        transaction,
        Event {
            channel: "schedule.created",
            key: format!("schedule:{}", schedule.id),
            kind: "SCHEDULE_CREATED",
            fields: json!({
                "scheduleId": schedule.id,
                "courseId": schedule.course_id,
                "instructorId": schedule.instructor_id,
                "roomId": schedule.room_id,
                "startTime": schedule.start_time,
                "endTime": schedule.end_time,
            }),
        },
    )
}

/// Answers what PostgreSQL refused after the checks had passed as the checks
/// would have. The transaction is over, so this may query again.
fn refused(error: Error, plan: &Plan, except: Option<&ScheduleId>) -> Error {
    let Some(cause) = error.database() else { return error };
    if ["class_schedules_room_overlap", "class_schedules_instructor_overlap"].iter().any(|name| cause.violates(name)) {
        return store::list_conflicts(plan, except)
            .map_or_else(Error::from, |conflicts| schedules::conflict(&conflicts));
    }
    if cause.violates("enforce_instructor_role") { schedules::not_an_instructor() } else { error }
}

fn lengths() -> Lengths {
    Lengths {
        min: settings::integer("MIN_CLASS_DURATION_MINUTES").unwrap_or(30),
        max: settings::integer("MAX_CLASS_DURATION_MINUTES").unwrap_or(180),
    }
}
