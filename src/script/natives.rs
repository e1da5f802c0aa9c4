//! The functions that scripts have from Tollgate, by name and types: for Rhai, and for [`direct`](super::direct), which
//! calls them without it.

use std::any::TypeId;
use std::collections::HashMap;

use rhai::{
    Dynamic, EvalAltResult, FuncRegistration, ImmutableString, Module, RhaiFunc, RhaiNativeFunc,
    Variant,
};

/// The most parameters of a function that is called directly.
pub(super) const MAX_PARAMETERS: usize = 3;

/// A module under construction, and its functions.
#[derive(Default)]
pub(super) struct Natives {
    module: Module,
    by_name: ByName,
}

/// Functions by their name and the number of their parameters.
pub(super) type ByName = HashMap<(Box<str>, usize), Vec<Native>>;

/// A function with the types of its parameters.
#[derive(Clone)]
pub(super) struct Native {
    /// `Dynamic` is every type.
    parameters: Box<[TypeId]>,
    function: RhaiFunc,
}

impl Natives {
    /// The module, for what Rhai alone calls.
    pub(super) fn module(&mut self) -> &mut Module {
        &mut self.module
    }

    /// Adds a function. It may change its first argument only if that is the request, and its result is no array and no map.
    pub(super) fn function<A, const N: usize, R, const F: bool, Fun>(
        &mut self,
        name: &str,
        function: Fun,
    ) where
        A: 'static,
        R: Variant + Clone,
        Fun: RhaiNativeFunc<A, N, false, R, F> + 'static,
    {
        self.register(FuncRegistration::new(name), function);
    }

    /// Adds a property, by the function that reads it.
    pub(super) fn property<A, const N: usize, R, const F: bool, Fun>(
        &mut self,
        name: &str,
        read: Fun,
    ) where
        A: 'static,
        R: Variant + Clone,
        Fun: RhaiNativeFunc<A, N, false, R, F> + 'static,
    {
        self.register(FuncRegistration::new_getter(name), read);
    }

    /// Adds `value[index]`, by the function that reads it.
    pub(super) fn index<A, const N: usize, R, const F: bool, Fun>(&mut self, read: Fun)
    where
        A: 'static,
        R: Variant + Clone,
        Fun: RhaiNativeFunc<A, N, false, R, F> + 'static,
    {
        self.register(FuncRegistration::new_index_getter(), read);
    }

    fn register<A, const N: usize, R, const F: bool, Fun>(
        &mut self,
        registration: FuncRegistration,
        function: Fun,
    ) where
        A: 'static,
        R: Variant + Clone,
        Fun: RhaiNativeFunc<A, N, false, R, F> + 'static,
    {
        let function = function.into_rhai_function(true, false);
        let parameters = Fun::param_types();
        let (module, callable) = (&mut self.module, function.clone());
        let metadata = registration.set_into_module_raw(module, parameters, callable);
        let native = Native {
            parameters: parameters.map(of_value).into(),
            function,
        };
        let name = (metadata.name.as_str().into(), N);
        let natives = self.by_name.entry(name).or_default();
        natives.push(native);
        // Rhai prefers the exact types.
        natives.sort_by_key(Native::count_open);
    }

    /// The module, and its functions.
    pub(super) fn finish(self) -> (Module, ByName) {
        (self.module, self.by_name)
    }
}

/// The type of a value that a parameter takes.
fn of_value(parameter: TypeId) -> TypeId {
    let texts = [TypeId::of::<&str>(), TypeId::of::<String>()];
    if texts.contains(&parameter) {
        return TypeId::of::<ImmutableString>();
    }
    parameter
}

impl Native {
    fn count_open(&self) -> usize {
        let open = TypeId::of::<Dynamic>();
        self.parameters.iter().filter(|id| **id == open).count()
    }

    /// Whether it takes these arguments.
    #[inline]
    pub(super) fn takes(&self, arguments: &[Dynamic]) -> bool {
        let open = TypeId::of::<Dynamic>();
        let takes = |(parameter, argument): (&TypeId, &Dynamic)| {
            argument.type_id() == *parameter || *parameter == open
        };
        self.parameters.len() == arguments.len() && self.parameters.iter().zip(arguments).all(takes)
    }

    /// Calls it with arguments that it takes. It leaves nothing of them but the first one, if it is a method.
    ///
    /// # Errors
    /// Those of the function.
    pub(super) fn call(&self, arguments: &mut [Dynamic]) -> Result<Dynamic, Box<EvalAltResult>> {
        let (RhaiFunc::Method { func, .. } | RhaiFunc::Pure { func, .. }) = &self.function else {
            return Err("not a function of the host".into());
        };
        match arguments {
            [] => func(None, &mut []),
            [a] => func(None, &mut [a]),
            [a, b] => func(None, &mut [a, b]),
            [a, b, c] => func(None, &mut [a, b, c]),
            _ => Err("too many arguments".into()),
        }
    }
}
