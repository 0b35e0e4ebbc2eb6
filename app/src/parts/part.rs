//! A view whose type is forgotten. Pages are made of many parts, and their types in one another would be longer than
//! the compiler bears.
//!
//! `AnyView` of Leptos forgets types as well. It also carries, for every type, the way to hydrate it piece by piece and
//! to wait for it, which only routes that load their code lazily need: that was a fifth of the bundle. A part is
//! complete when it is made: what waits, waits around it.

use leptos::prelude::*;
use leptos::tachys::html::attribute::any_attribute::AnyAttribute;
use leptos::tachys::hydration::Cursor;
use leptos::tachys::renderer::types::{Element, Node};
use leptos::tachys::view::{Mountable, Position, PositionState};
use std::any::{Any, TypeId};

/// A view of any type.
pub struct Part(Box<dyn Forgotten>);

/// Forgets the type of a view.
pub trait IntoPart {
    /// The same view without its type.
    fn part(self) -> Part;
}

impl<T: RenderHtml + 'static> IntoPart for T {
    fn part(self) -> Part {
        Part(Box::new(self))
    }
}

/// Nothing at all.
#[must_use]
pub fn none() -> Part {
    Vec::<Part>::new().part()
}

/// What is asked of a view whose type is forgotten.
trait Forgotten: Send {
    fn kind(&self) -> TypeId;
    fn build(self: Box<Self>) -> Box<dyn Standing>;
    fn rebuild(self: Box<Self>, state: &mut dyn Any);
    fn hydrate(self: Box<Self>, cursor: &Cursor, position: &PositionState) -> Box<dyn Standing>;
    fn write(self: Box<Self>, out: &mut String, position: &mut Position, escape: bool, attributes: Vec<AnyAttribute>);
}

impl<T: RenderHtml + 'static> Forgotten for T {
    fn kind(&self) -> TypeId {
        TypeId::of::<T>()
    }

    fn build(self: Box<Self>) -> Box<dyn Standing> {
        Box::new(Render::build(*self))
    }

    fn rebuild(self: Box<Self>, state: &mut dyn Any) {
        // Whoever calls this has compared the kinds.
        if let Some(state) = state.downcast_mut::<T::State>() {
            Render::rebuild(*self, state);
        }
    }

    fn hydrate(self: Box<Self>, cursor: &Cursor, position: &PositionState) -> Box<dyn Standing> {
        Box::new(RenderHtml::hydrate::<true>(*self, cursor, position))
    }

    fn write(self: Box<Self>, out: &mut String, position: &mut Position, escape: bool, attributes: Vec<AnyAttribute>) {
        // A browser never writes markup; a method that could be called is never left out by itself.
        if !cfg!(target_family = "wasm") {
            self.to_html_with_buf(out, position, escape, false, attributes);
        }
    }
}

/// What stands in the document.
trait Standing: Mountable {
    fn any(&mut self) -> &mut dyn Any;
}

impl<T: Mountable + 'static> Standing for T {
    fn any(&mut self) -> &mut dyn Any {
        self
    }
}

/// A part that stands in the document.
pub struct PartState {
    kind: TypeId,
    state: Box<dyn Standing>,
}

impl Mountable for PartState {
    fn unmount(&mut self) {
        self.state.unmount();
    }

    fn mount(&mut self, parent: &Element, marker: Option<&Node>) {
        self.state.mount(parent, marker);
    }

    fn insert_before_this(&self, child: &mut dyn Mountable) -> bool {
        self.state.insert_before_this(child)
    }

    fn elements(&self) -> Vec<Element> {
        self.state.elements()
    }
}

impl Render for Part {
    type State = PartState;

    fn build(self) -> PartState {
        PartState { kind: self.0.kind(), state: self.0.build() }
    }

    /// A part of the same kind is changed where it stands, so that focus and scroll stay; another one takes its place.
    fn rebuild(self, state: &mut PartState) {
        if self.0.kind() == state.kind {
            self.0.rebuild((*state.state).any());
        } else {
            let mut new = self.build();
            state.insert_before_this(&mut new);
            state.unmount();
            *state = new;
        }
    }
}

leptos::tachys::no_attrs!(Part);

impl RenderHtml for Part {
    type AsyncOutput = Self;
    type Owned = Self;

    const MIN_LENGTH: usize = 0;

    fn dry_resolve(&mut self) {}

    async fn resolve(self) -> Self {
        self
    }

    fn to_html_with_buf(
        self,
        buf: &mut String,
        position: &mut Position,
        escape: bool,
        _mark_branches: bool,
        extra_attrs: Vec<AnyAttribute>,
    ) {
        self.0.write(buf, position, escape, extra_attrs);
    }

    fn hydrate<const FROM_SERVER: bool>(self, cursor: &Cursor, position: &PositionState) -> PartState {
        PartState { kind: self.0.kind(), state: self.0.hydrate(cursor, position) }
    }

    fn into_owned(self) -> Self {
        self
    }
}
