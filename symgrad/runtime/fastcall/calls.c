/* The call path of compiled functions from Python: check every array, allocate, call, wrap.
 *
 * Compiled once per machine, like any function of symgrad. The fast path takes what it knows to be
 * exactly right. Everything else (another structure, a dtype to be refused, strides to be copied, an
 * error to be explained) goes to the method _slow in Python, which is the only place that decides
 * about such input.
 */

typedef struct {
    object head;
    vectorcall call;
    plan *first;
    object *variable; /* holds `idle` while nothing is traced in this context; or NULL */
    object *idle;
    guards guards; /* the plans are right as long as all of these hold */
    object *held;  /* keeps what guards point to, or NULL */
} caller;

/* ---- the call -------------------------------------------------------------------------------- */

static int run(plan *p, const frame *f)
{
    void *workspace = p->workspace;
    void *aligned = NULL;
    int status;
    int k;
    if (p->workspace_bytes > 0) {
        p->workspace = NULL; /* ours until the call is over */
        if (workspace == NULL) {
            workspace = malloc(p->workspace_bytes + 64);
            if (workspace == NULL) {
                return -1;
            }
        }
        aligned = (char *)workspace + (64 - (uintptr_t)workspace % 64) % 64;
    }
    if (p->releases_gil) {
        /* Another thread may take an array out of a list or dict of ours meanwhile. */
        void *state;
        for (k = 0; k < p->inputs; k++) {
            Py_IncRef(f->held[k]);
        }
        state = PyEval_SaveThread();
        status = p->entry(f->pointer, f->result, aligned);
        PyEval_RestoreThread(state);
        for (k = 0; k < p->inputs; k++) {
            Py_DecRef(f->held[k]);
        }
    } else {
        status = p->entry(f->pointer, f->result, aligned);
    }
    if (workspace != NULL) {
        if (p->workspace == NULL) {
            p->workspace = workspace;
        } else {
            free(workspace);
        }
    }
    return status;
}

/* 1: `result` holds the result. 0: not for this plan, or the function reported a status, which the
 * slow path meets again and explains. -1: an exception is set. */
static int attempt(plan *p, object *const *args, ptrdiff_t count, object *out, object **result)
{
    frame f;
    object *made[MAX_LEAVES];
    scalar numbers[MAX_LEAVES];
    int status;
    int k;
    if (count != p->arguments || !take_inputs(p, args, &f)) {
        return 0;
    }
    if (out != NULL) {
        if (!take_outputs(p, out, made, &f)) {
            return 0;
        }
        for (k = 0; k < p->outputs; k++) {
            Py_IncRef(made[k]); /* a list of results may change while another thread runs */
        }
        status = run(p, &f);
        for (k = 0; k < p->outputs; k++) {
            Py_DecRef(made[k]);
        }
        if (status != 0) {
            return (status > 0) ? 0 : (PyErr_NoMemory(), -1);
        }
        Py_IncRef(out);
        *result = out;
        return 1;
    }
    for (k = 0; k < p->outputs; k++) {
        const leaf *const t = &p->output[k];
        made[k] = NULL;
        f.result[k] = &numbers[k];
        if (t->ndim > 0) {
            made[k] = make_result(t->dtype, t->ndim, t->shape, t->bytes);
            if (made[k] == NULL) {
                while (k > 0) {
                    k--;
                    if (made[k] != NULL) {
                        Py_DecRef(made[k]);
                    }
                }
                return -1;
            }
            f.result[k] = ((array *)made[k])->data;
        }
    }
    status = run(p, &f);
    for (k = 0; k < p->outputs; k++) {
        if (p->output[k].ndim == 0 && status == 0) {
            made[k] = to_number(p->output[k].kind, &numbers[k]);
            status = (made[k] == NULL) ? -2 : 0;
        }
    }
    if (status != 0) {
        for (k = 0; k < p->outputs; k++) {
            if (made[k] != NULL) {
                Py_DecRef(made[k]);
            }
        }
        if (status == -1) {
            (void)PyErr_NoMemory();
        }
        return (status > 0) ? 0 : -1;
    }
    *result = assemble(p, made);
    return (*result == NULL) ? -1 : 1;
}

static int is_idle(const caller *self)
{
    object *value = NULL;
    if (self->variable == NULL) {
        return 1;
    }
    if (PyContextVar_Get(self->variable, NULL, &value) < 0 || value == NULL) {
        PyErr_Clear();
        return 0;
    }
    Py_DecRef(value); /* still held by the context */
    return value == self->idle;
}

static void free_plan(plan *p)
{
    object *const keep = p->keep;
    free(p->workspace);
    free(p);
    Py_DecRef(keep);
}

/* New plans and guards in place of the old ones. What calls under way still use lives on until these
 * are over. Freeing may run code of the user, which finds everything in its new state. */
static void replace(caller *self, plan *first, guards fresh, object *held)
{
    plan *p = self->first;
    guards old = self->guards;
    object *const held_before = self->held;
    self->first = first;
    self->guards = fresh;
    self->held = held;
    free_guards(&old);
    while (p != NULL) {
        plan *const next = p->next;
        p->unwanted = 1;
        if (p->users == 0) {
            free_plan(p);
        }
        p = next;
    }
    if (held_before != NULL) {
        Py_DecRef(held_before);
    }
}

/* As `attempt`, by the first plan that fits. `out` is NULL where the caller did not name it; for a
 * plan that takes no results it is an argument of the user's function, which only _slow knows. */
static int by_plans(const caller *self, object *const *args, ptrdiff_t count, object *out, object **result)
{
    plan *p = self->first;
    ptrdiff_t k;
    int done = 0;
    if (p == NULL || !is_idle(self)) {
        return 0;
    }
    for (k = 0; k < self->guards.count; k++) {
        if (!holds(&self->guards.row[k])) {
            return 0;
        }
    }
    while (p != NULL && done == 0) {
        plan *const tried = p;
        int unwanted;
        tried->users++;
        if (out == NULL || p->takes_out) {
            done = attempt(p, args, count, (out == &_Py_NoneStruct) ? NULL : out, result);
        }
        tried->users--;
        unwanted = tried->unwanted;
        p = unwanted ? NULL : tried->next;
        if (unwanted && tried->users == 0) {
            free_plan(tried);
        }
    }
    return done;
}

static object *call_vector(object *me, object *const *args, size_t count_and_flag, object *names)
{
    const ptrdiff_t count = (ptrdiff_t)(count_and_flag & ~ARGUMENTS_OFFSET);
    const ptrdiff_t named = (names == NULL) ? 0 : PyTuple_Size(names);
    object *result = NULL;
    object *slow;
    int done = 0;
    if (named == 0) {
        done = by_plans((caller *)me, args, count, NULL, &result);
    } else if (named == 1 && PyUnicode_CompareWithASCIIString(PyTuple_GetItem(names, 0), "out") == 0) {
        done = by_plans((caller *)me, args, count, args[count], &result);
    }
    if (done != 0) {
        return (done > 0) ? result : NULL;
    }
    slow = PyObject_GetAttrString(me, "_slow");
    if (slow == NULL) {
        return NULL;
    }
    result = PyObject_Vectorcall(slow, args, (size_t)count, names);
    Py_DecRef(slow);
    return result;
}

static object *out_name;

/* The same where Python calls by tuple and dict. */
static object *call_tuple(object *me, object *args, object *keywords)
{
    object *positional[MAX_STEPS];
    const ptrdiff_t count = PyTuple_Size(args);
    const ptrdiff_t named = (keywords == NULL) ? 0 : PyDict_Size(keywords);
    object *result = NULL;
    object *slow;
    object *out = NULL;
    int done = 0;
    ptrdiff_t k;
    if (named == 1) {
        out = PyDict_GetItemWithError(keywords, out_name);
        if (out == NULL && PyErr_Occurred() != NULL) { /* a subclass of str compares as it likes */
            return NULL;
        }
    }
    if (count <= MAX_STEPS && (named == 0 || out != NULL)) {
        for (k = 0; k < count; k++) {
            positional[k] = PyTuple_GetItem(args, k);
        }
        done = by_plans((caller *)me, positional, count, out, &result);
    }
    if (done != 0) {
        return (done > 0) ? result : NULL;
    }
    slow = PyObject_GetAttrString(me, "_slow");
    if (slow == NULL) {
        return NULL;
    }
    result = PyObject_Call(slow, args, keywords);
    Py_DecRef(slow);
    return result;
}

/* ---- the type -------------------------------------------------------------------------------- */

/* given = (entry, in steps, out steps, inputs, outputs, captured addresses, arguments, workspace
 * bytes, takes out, releases the GIL, fixed values, hidden arrays, keep). The form is checked, so that a slip in Python is an
 * exception; addresses and sizes cannot be. What the plan points to lives in `given`, which it keeps. */
static plan *new_plan(object *given)
{
    plan *const p = calloc(1, sizeof(plan));
    if (p == NULL) {
        return (plan *)(void *)PyErr_NoMemory();
    }
    if (!read_plan(given, p)) {
        free(p);
        return (plan *)(void *)((PyErr_Occurred() != NULL) ? NULL : refused());
    }
    Py_IncRef(given);
    p->keep = given;
    return p;
}

static object *add_plan(object *me, object *given)
{
    caller *const self = (caller *)me;
    plan **last = &self->first;
    plan *const p = new_plan(given);
    if (p == NULL) {
        return NULL;
    }
    while (*last != NULL) {
        last = &(*last)->next;
    }
    *last = p;
    Py_IncRef(&_Py_NoneStruct);
    return &_Py_NoneStruct;
}

/* given = (rows of guards, plans, keep): these in place of all earlier ones, in one step. */
static object *switch_to(object *me, object *given)
{
    caller *const self = (caller *)me;
    guards fresh = {NULL, 0, NULL};
    plan *first = NULL;
    object *plans;
    ptrdiff_t k;
    if (!is_tuple(given, 3, 3) || PyTuple_GetItem(given, 1)->type != &PyTuple_Type
        || !read_guards(PyTuple_GetItem(given, 0), &fresh)) {
        return (PyErr_Occurred() != NULL) ? NULL : refused();
    }
    plans = PyTuple_GetItem(given, 1);
    for (k = PyTuple_Size(plans) - 1; k >= 0; k--) {
        plan *const p = new_plan(PyTuple_GetItem(plans, k));
        if (p == NULL) {
            while (first != NULL) {
                plan *const next = first->next;
                free_plan(first);
                first = next;
            }
            free_guards(&fresh);
            return NULL;
        }
        p->next = first;
        first = p;
    }
    Py_IncRef(given);
    replace(self, first, fresh, given);
    Py_IncRef(&_Py_NoneStruct);
    return &_Py_NoneStruct;
}

/* Whether all guards hold. */
static object *all_hold(object *me, object *nothing)
{
    caller *const self = (caller *)me;
    int result = 1;
    ptrdiff_t k;
    (void)nothing;
    for (k = 0; k < self->guards.count && result; k++) {
        result = holds(&self->guards.row[k]);
    }
    return PyBool_FromLong(result);
}

/* given = (context variable, its value while nothing is traced): calls during a trace are slow. */
static object *watch(object *me, object *given)
{
    caller *const self = (caller *)me;
    object *const before[2] = {self->variable, self->idle};
    if (!is_tuple(given, 2, 2)) {
        return refused();
    }
    self->variable = PyTuple_GetItem(given, 0);
    self->idle = PyTuple_GetItem(given, 1);
    Py_IncRef(self->variable);
    Py_IncRef(self->idle);
    if (before[0] != NULL) {
        Py_DecRef(before[0]);
        Py_DecRef(before[1]);
    }
    Py_IncRef(&_Py_NoneStruct);
    return &_Py_NoneStruct;
}

/* Before Python 3.12 a class made in Python does not inherit the flag of the vectorcall protocol,
 * although it inherits the protocol itself. The two members of a type object are where they have been
 * since 3.8; they are compared with what Python says before the flag is set. */
static object *inherit_vectorcall(object *me, object *unused)
{
    enum { VECTORCALL_OFFSET = 56, FLAGS = 168 };
    char *const type = (char *)me->type;
    object *(*const tuple_call)(object *, object *, object *) = call_tuple;
    void *const slot_value = PyType_GetSlot(me->type, SLOT_CALL);
    unsigned long flags;
    ptrdiff_t offset;
    (void)unused;
    memcpy(&flags, type + FLAGS, sizeof flags);
    memcpy(&offset, type + VECTORCALL_OFFSET, sizeof offset);
    if (flags == PyType_GetFlags(me->type) && offset == (ptrdiff_t)offsetof(caller, call)
        && memcmp(&tuple_call, &slot_value, sizeof slot_value) == 0) { /* no __call__ of its own */
        flags |= HAVE_VECTORCALL;
        memcpy(type + FLAGS, &flags, sizeof flags);
    }
    Py_IncRef(&_Py_NoneStruct);
    return &_Py_NoneStruct;
}

static object *make_caller(object *type, object *args, object *keywords)
{
    object *const made = PyType_GenericNew(type, args, keywords);
    if (made != NULL) {
        ((caller *)made)->call = call_vector;
    }
    return made;
}

static int traverse_caller(object *me, visitor visit, void *argument)
{
    caller *const self = (caller *)me;
    object *const parts[4] = {me->type, self->variable, self->idle, self->held};
    const plan *p;
    int status = 0;
    int k;
    for (k = 0; k < 4 && status == 0; k++) {
        status = (parts[k] != NULL) ? visit(parts[k], argument) : 0;
    }
    for (p = self->first; p != NULL && status == 0; p = p->next) {
        status = visit(p->keep, argument);
    }
    return status;
}

static int clear_caller(object *me)
{
    const guards none = {NULL, 0, NULL};
    replace((caller *)me, NULL, none, NULL);
    return 0;
}

static void destroy_caller(object *me)
{
    caller *const self = (caller *)me;
    object *const type = me->type;
    void *const slot_value = PyType_GetSlot(type, SLOT_FREE);
    void (*release)(void *) = NULL;
    PyObject_GC_UnTrack(me);
    (void)clear_caller(me);
    if (self->variable != NULL) {
        Py_DecRef(self->variable);
        Py_DecRef(self->idle);
    }
    memcpy(&release, &slot_value, sizeof release);
    release(me);
    Py_DecRef(type);
}

/* given = ((dtype, kind, accept, bytes, shape),): a fresh array, made as results are. */
static object *empty(object *unused, object *given)
{
    leaf t;
    (void)unused;
    if (!is_tuple(given, 1, 1) || read_leaves(given, &t) != 1) {
        return (PyErr_Occurred() != NULL) ? NULL : refused();
    }
    return make_result(t.dtype, t.ndim, t.shape, t.bytes);
}

/* How many bytes wait for the next results. */
static object *pooled(object *unused, object *nothing)
{
    (void)unused;
    (void)nothing;
    return PyLong_FromLongLong((long long)pool.bytes);
}

/* Data, ndim, flags, first size and dtype of an array as this file sees them, for verification. */
static object *probe(object *unused, object *given)
{
    const array *const a = (const array *)given;
    object *seen;
    (void)unused;
    if (given->type != array_type) {
        return refused();
    }
    seen = PyTuple_New(5);
    if (seen != NULL) {
        (void)PyTuple_SetItem(seen, 0, PyLong_FromVoidPtr(a->data));
        (void)PyTuple_SetItem(seen, 1, PyLong_FromLongLong(a->ndim));
        (void)PyTuple_SetItem(seen, 2, PyLong_FromLongLong(a->flags & (CONTIGUOUS | ALIGNED | WRITEABLE)));
        (void)PyTuple_SetItem(seen, 3, PyLong_FromLongLong((a->ndim > 0) ? a->shape[0] : 0));
        (void)PyTuple_SetItem(seen, 4, PyLong_FromVoidPtr(a->dtype));
    }
    return seen;
}

__attribute__((visibility("default"))) object *symgrad_dispatch(object *config);

/* The type Caller; config = (NumPy's table of functions, ndarray, float64, "out", whether versions of
 * dicts tell of all changes, bytes before the values of a dict with shared keys). */
object *symgrad_dispatch(object *config)
{
    static const member members[] = {
        {"__vectorcalloffset__", MEMBER_PTRDIFF, offsetof(caller, call), MEMBER_READONLY, NULL},
        {NULL, 0, 0, 0, NULL},
    };
    static const method methods[] = {
        {"_add_plan", add_plan, METHOD_ONE_ARGUMENT, NULL},
        {"_switch", switch_to, METHOD_ONE_ARGUMENT, NULL},
        {"_all_hold", all_hold, METHOD_NO_ARGUMENT, NULL},
        {"_watch", watch, METHOD_ONE_ARGUMENT, NULL},
        {"_probe", probe, METHOD_ONE_ARGUMENT, NULL},
        {"_empty", empty, METHOD_ONE_ARGUMENT | METHOD_STATIC, NULL},
        {"_pooled", pooled, METHOD_NO_ARGUMENT | METHOD_STATIC, NULL},
        {"_inherit_vectorcall", inherit_vectorcall, METHOD_NO_ARGUMENT, NULL},
        {NULL, NULL, 0, NULL},
    };
    static slot slots[8];
    static const type_spec spec = {"symgrad.Caller", sizeof(caller), 0, TYPE_FLAGS, slots};
    object *(*const tuple_call)(object *, object *, object *) = call_tuple;
    object *(*const constructor)(object *, object *, object *) = make_caller;
    void (*const destructor)(object *) = destroy_caller;
    int (*const traversal)(object *, visitor, void *) = traverse_caller;
    int (*const clearing)(object *) = clear_caller;
    void *const *const table = PyLong_AsVoidPtr(PyTuple_GetItem(config, 0));
    array_type = PyTuple_GetItem(config, 1);
    float64_type = PyTuple_GetItem(config, 2);
    out_name = PyTuple_GetItem(config, 3);
    versions_tell = PyTuple_GetItem(config, 4) == &_Py_TrueStruct;
    values_header = (ptrdiff_t)PyLong_AsLongLong(PyTuple_GetItem(config, 5));
    Py_IncRef(config); /* for the life of the process, as the library itself */
    memcpy(&make_array, &table[94], sizeof make_array);
    memcpy(&use_handler, &table[304], sizeof use_handler);
    default_handler = *(object **)table[306];
    recycler = PyCapsule_New(&recycling, "mem_handler", NULL);
    if (recycler == NULL) {
        return NULL;
    }
    slots[0].slot = SLOT_CALL;
    memcpy(&slots[0].value, &tuple_call, sizeof tuple_call);
    slots[1].slot = SLOT_DEALLOC;
    memcpy(&slots[1].value, &destructor, sizeof destructor);
    slots[2].slot = SLOT_NEW;
    memcpy(&slots[2].value, &constructor, sizeof constructor);
    slots[3].slot = SLOT_METHODS;
    slots[3].value = (void *)(uintptr_t)methods;
    slots[4].slot = SLOT_MEMBERS;
    slots[4].value = (void *)(uintptr_t)members;
    slots[5].slot = SLOT_TRAVERSE;
    memcpy(&slots[5].value, &traversal, sizeof traversal);
    slots[6].slot = SLOT_CLEAR;
    memcpy(&slots[6].value, &clearing, sizeof clearing);
    return PyType_FromSpec(&spec);
}
