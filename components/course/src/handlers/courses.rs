//! CRS-1 to CRS-6.

use crate::{
    domain::{
        CourseId,
        courses::{self, Course, CourseChanges, CourseFilter, CourseInclusion, NewCourse},
        schedules::Schedule,
    },
    store,
};
use schemars::JsonSchema;
use sdk::{Ack, Body, Call, Created, Data, Listing, Page, Path, Query, Result};
use serde::Serialize;

#[derive(JsonSchema, Serialize)]
pub struct CourseDetail {
    #[serde(flatten)]
    course: Course,
    #[serde(skip_serializing_if = "Option::is_none")]
    upcoming_schedules: Option<Vec<Schedule>>,
}

/// CRS-6.
#[derive(JsonSchema, Serialize)]
pub struct DeletedCourse {
    deleted_course_id: CourseId,
}

pub fn list(_: &Call, Query(filter): Query<CourseFilter>, page: Page) -> Result<Data<Listing<Course>>> {
    let listing = Listing::read(page, || store::list_courses(&filter, page), || store::count_courses(&filter))?;
    Ok(Data(listing))
}

pub fn list_active(call: &Call, Query(filter): Query<CourseFilter>, page: Page) -> Result<Data<Listing<Course>>> {
    list(call, Query(CourseFilter { is_active: Some(true), ..filter }), page)
}

pub fn show(_: &Call, Path(id): Path<CourseId>, Query(query): Query<CourseInclusion>) -> Result<Data<CourseDetail>> {
    let course = store::find_course(&id)?.ok_or_else(courses::not_found)?;
    let upcoming_schedules = query.include.map(|_| store::list_course_schedules(&id)).transpose()?;
    Ok(Data(CourseDetail { course, upcoming_schedules }))
}

pub fn create(_: &Call, Body(new): Body<NewCourse>) -> Result<Created<Course>> {
    Ok(Created(store::insert_course(&new)?))
}

pub fn update(_: &Call, Path(id): Path<CourseId>, Body(changes): Body<CourseChanges>) -> Result<Data<Course>> {
    store::update_course(&id, &changes)?.map(Data).ok_or_else(courses::not_found)
}

pub fn delete(_: &Call, Path(id): Path<CourseId>) -> Result<Ack<DeletedCourse>> {
    match store::delete_course(&id) {
        Ok(true) => Ok(Ack::new("Course deleted").with(DeletedCourse { deleted_course_id: id })),
        Ok(false) => Err(courses::not_found()),
        Err(error) if error.is_referenced() => Err(courses::in_use(&store::count_course_references(&id)?)),
        Err(error) => Err(error.into()),
    }
}
