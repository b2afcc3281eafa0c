//! The kinds of markers, and their colours.

use std::collections::HashMap;

use fxprof_processed_profile::{
    CategoryColor, CategoryHandle, MarkerFieldFlags, MarkerFieldFormat, MarkerLocations, Profile,
    StaticSchemaMarker, StaticSchemaMarkerField, StringHandle,
};

use super::super::timeline::ORDER;
use crate::model::{Part, State};

/// Numbers and texts of a marker, in the order of its fields.
pub struct RequestMarker {
    pub name: StringHandle,
    pub category: CategoryHandle,
    /// To find its parts by.
    pub number: f64,
    pub service: StringHandle,
    pub first_byte_ms: f64,
    pub calls: f64,
    pub longest_wait: StringHandle,
}

/// A part of a request.
pub struct PartMarker {
    pub name: StringHandle,
    pub category: CategoryHandle,
    pub request: f64,
}

/// The part of a request that its longest wait lies in.
pub struct WaitMarker {
    pub part: PartMarker,
    pub longest_ms: f64,
    pub kind: StringHandle,
    pub object: StringHandle,
    pub function: StringHandle,
}

const fn field(
    key: &'static str,
    label: &'static str,
    format: MarkerFieldFormat,
) -> StaticSchemaMarkerField {
    StaticSchemaMarkerField { key, label, format, flags: MarkerFieldFlags::SEARCHABLE }
}

const REQUEST_NUMBER: StaticSchemaMarkerField =
    field("request", "Request", MarkerFieldFormat::Integer);

impl StaticSchemaMarker for RequestMarker {
    const UNIQUE_MARKER_TYPE_NAME: &'static str = "Request";
    const DESCRIPTION: Option<&'static str> =
        Some("One of the slowest requests, from its arrival to the last of its answer.");
    const LOCATIONS: MarkerLocations = MarkerLocations::MARKER_CHART
        .union(MarkerLocations::MARKER_TABLE)
        .union(MarkerLocations::TIMELINE_OVERVIEW);
    const CHART_LABEL: Option<&'static str> = Some("{marker.name}");
    const TOOLTIP_LABEL: Option<&'static str> = Some("{marker.name}");
    const TABLE_LABEL: Option<&'static str> =
        Some("at {marker.data.service}, longest wait: {marker.data.longest_wait}");
    const FIELDS: &'static [StaticSchemaMarkerField] = &[
        REQUEST_NUMBER,
        field("service", "Service", MarkerFieldFormat::String),
        field("first_byte", "First byte after", MarkerFieldFormat::Duration),
        field("calls", "Calls to peers", MarkerFieldFormat::Integer),
        field("longest_wait", "Longest wait", MarkerFieldFormat::String),
    ];

    fn name(&self, _profile: &mut Profile) -> StringHandle {
        self.name
    }

    fn category(&self, _profile: &mut Profile) -> CategoryHandle {
        self.category
    }

    fn string_field_value(&self, index: u32) -> StringHandle {
        if index == 1 { self.service } else { self.longest_wait }
    }

    fn number_field_value(&self, index: u32) -> f64 {
        match index {
            0 => self.number,
            2 => self.first_byte_ms,
            _ => self.calls,
        }
    }
}

impl StaticSchemaMarker for PartMarker {
    const UNIQUE_MARKER_TYPE_NAME: &'static str = "Part";
    const DESCRIPTION: Option<&'static str> = Some(ORDER);
    const TABLE_LABEL: Option<&'static str> = Some("of request {marker.data.request}");
    const FIELDS: &'static [StaticSchemaMarkerField] = &[REQUEST_NUMBER];

    fn name(&self, _profile: &mut Profile) -> StringHandle {
        self.name
    }

    fn category(&self, _profile: &mut Profile) -> CategoryHandle {
        self.category
    }

    fn string_field_value(&self, _index: u32) -> StringHandle {
        unreachable!("it has no text")
    }

    fn number_field_value(&self, _index: u32) -> f64 {
        self.request
    }
}

impl StaticSchemaMarker for WaitMarker {
    const UNIQUE_MARKER_TYPE_NAME: &'static str = "Wait";
    const DESCRIPTION: Option<&'static str> = PartMarker::DESCRIPTION;
    const CHART_LABEL: Option<&'static str> = Some("{marker.data.function}: {marker.data.object}");
    const TABLE_LABEL: Option<&'static str> = Some(
        "of request {marker.data.request}, longest: {marker.data.kind}, {marker.data.object}, \
         in {marker.data.function}",
    );
    const FIELDS: &'static [StaticSchemaMarkerField] = &[
        REQUEST_NUMBER,
        field("longest", "Longest wait in it", MarkerFieldFormat::Duration),
        field("kind", "Kind", MarkerFieldFormat::String),
        field("object", "For", MarkerFieldFormat::String),
        field("function", "In", MarkerFieldFormat::String),
    ];

    fn name(&self, _profile: &mut Profile) -> StringHandle {
        self.part.name
    }

    fn category(&self, _profile: &mut Profile) -> CategoryHandle {
        self.part.category
    }

    fn string_field_value(&self, index: u32) -> StringHandle {
        match index {
            2 => self.kind,
            3 => self.object,
            _ => self.function,
        }
    }

    fn number_field_value(&self, index: u32) -> f64 {
        if index == 0 { self.part.request } else { self.longest_ms }
    }
}

/// The categories that are in use, by name.
#[derive(Default)]
pub struct Categories(HashMap<&'static str, CategoryHandle>);

impl Categories {
    /// That of requests.
    pub fn request(&mut self, profile: &mut Profile) -> CategoryHandle {
        self.named(profile, "Requests", CategoryColor::DarkGray)
    }

    /// That of a part.
    pub fn part(&mut self, profile: &mut Profile, part: Part) -> CategoryHandle {
        let (name, color) = category(part);
        self.named(profile, name, color)
    }

    fn named(
        &mut self,
        profile: &mut Profile,
        name: &'static str,
        color: CategoryColor,
    ) -> CategoryHandle {
        *self.0.entry(name).or_insert_with(|| profile.add_category(name, color))
    }
}

/// The colours of the flame graph, as near as the few that there are come to them.
fn category(part: Part) -> (&'static str, CategoryColor) {
    match part {
        Part::Queued | Part::BehindOthers | Part::HandedOver => ("Queues", CategoryColor::Brown),
        Part::Peers => ("Peers and sockets", CategoryColor::Blue),
        Part::In(state) => match state {
            State::Running => ("Running", CategoryColor::LightGreen),
            State::Runnable => ("Waiting for a CPU", CategoryColor::LightRed),
            State::Futex | State::FileLock => ("Locks", CategoryColor::Red),
            State::Socket => ("Peers and sockets", CategoryColor::Blue),
            State::Poll => ("Events", CategoryColor::LightBlue),
            State::Disk => ("Disk", CategoryColor::Orange),
            State::PageFault => ("Page faults", CategoryColor::Magenta),
            State::Pipe => ("Pipes", CategoryColor::Purple),
            State::Sleep => ("Sleep", CategoryColor::Gray),
            State::Child => ("Child processes", CategoryColor::Green),
            State::IoUring => ("io_uring", CategoryColor::Yellow),
            _ => ("Other waits", CategoryColor::Brown),
        },
    }
}
