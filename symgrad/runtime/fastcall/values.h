/* From the values of a call to addresses, and from results to Python's objects. */

/* ---- input ----------------------------------------------------------------------------------- */

typedef struct {
    const void *pointer[2 * MAX_LEAVES];
    object *held[MAX_LEAVES]; /* arrays in use, borrowed from the caller */
    scalar number[MAX_LEAVES];
    void *result[MAX_LEAVES];
} frame;

static int fits(const leaf *t, const object *value, int flags)
{
    const array *const a = (const array *)value;
    int k;
    if (value->type != array_type || a->dtype != t->dtype || a->ndim != t->ndim
        || (a->flags & flags) != flags) {
        return 0;
    }
    for (k = 0; k < t->ndim; k++) {
        if (a->shape[k] != t->shape[k]) {
            return 0;
        }
    }
    return 1;
}

static int take_number(const leaf *t, object *value, scalar *to)
{
    object *const type = value->type;
    if (t->kind == FLOAT64) {
        if ((type == &PyFloat_Type && (t->accept & ACCEPT_PYTHON) != 0)
            || (type == float64_type && (t->accept & ACCEPT_NUMPY) != 0)) {
            to->float64 = PyFloat_AsDouble(value);
            return 1;
        }
    } else if (t->kind == INT64 && type == &PyLong_Type && (t->accept & ACCEPT_PYTHON) != 0) {
        to->int64 = PyLong_AsLongLong(value);
        if (to->int64 != -1 || PyErr_Occurred() == NULL) {
            return 1;
        }
        PyErr_Clear();
    } else if (t->kind == BOOLEAN && type == &PyBool_Type && (t->accept & ACCEPT_PYTHON) != 0) {
        to->boolean = (unsigned char)(value == &_Py_TrueStruct);
        return 1;
    }
    return 0;
}

/* The children of a container that `s` describes into `child`; 0 if `value` is another structure. */
static int open_container(const step *s, object *value, object **child)
{
    int k;
    if (s->kind == NONE) {
        return value == &_Py_NoneStruct;
    }
    if (s->kind == TUPLE) {
        if (value->type != &PyTuple_Type || PyTuple_Size(value) != s->arity) {
            return 0;
        }
        for (k = 0; k < s->arity; k++) {
            child[k] = PyTuple_GetItem(value, k);
        }
        return 1;
    }
    if (s->kind == LIST) {
        if (value->type != &PyList_Type || PyList_Size(value) != s->arity) {
            return 0;
        }
        for (k = 0; k < s->arity; k++) {
            child[k] = PyList_GetItem(value, k);
        }
        return 1;
    }
    if (value->type != &PyDict_Type || PyDict_Size(value) != s->arity) {
        return 0;
    }
    for (k = 0; k < s->arity; k++) {
        child[k] = PyDict_GetItemWithError(value, PyTuple_GetItem(s->keys, k));
        if (child[k] == NULL) {
            PyErr_Clear();
            return 0;
        }
    }
    return 1;
}

/* Leaves of `count` values that `steps` describes, in order; 0 if the structure differs. The stack
 * holds what is still to be visited, so depth costs no C stack. */
static int take_apart(const step *steps, int n_steps, object *const *values, int count, object **leaves)
{
    object *stack[MAX_STEPS + MAX_LEAVES];
    object *child[MAX_STEPS];
    int top = 0;
    int found = 0;
    int at = 0;
    int k;
    for (k = count - 1; k >= 0; k--) {
        stack[top++] = values[k];
    }
    while (top > 0) {
        object *const value = stack[--top];
        const step *const s = &steps[at];
        if (at >= n_steps) {
            return 0;
        }
        at++;
        if (s->kind == LEAF) {
            leaves[found++] = value;
        } else {
            if (!open_container(s, value, child)) {
                return 0;
            }
            for (k = s->arity - 1; k >= 0; k--) {
                stack[top++] = child[k];
            }
        }
    }
    return at == n_steps;
}

/* Whether a value is the one that is compiled in, as far as can be told at once. */
static int is_fixed(object *fixed, size_t bytes, object *value)
{
    if (fixed->type != value->type) {
        return 0;
    }
    if (fixed->type == array_type) { /* which may have been changed in place */
        const array *const a = (const array *)fixed;
        const array *const b = (const array *)value;
        int k;
        if (a->dtype != b->dtype || a->ndim != b->ndim || (b->flags & CONTIGUOUS) == 0) {
            return 0;
        }
        for (k = 0; k < a->ndim; k++) {
            if (a->shape[k] != b->shape[k]) {
                return 0;
            }
        }
        return memcmp(a->data, b->data, bytes) == 0;
    }
    if (fixed->type == &PyLong_Type && fixed != value) {
        const long long a = PyLong_AsLongLong(fixed);
        const long long b = PyLong_AsLongLong(value);
        if (PyErr_Occurred() != NULL) {
            PyErr_Clear();
            return 0;
        }
        return a == b;
    }
    if (fixed->type == &PyFloat_Type) { /* 0.0 and -0.0 are two */
        const double a = PyFloat_AsDouble(fixed);
        const double b = PyFloat_AsDouble(value);
        return memcmp(&a, &b, sizeof a) == 0;
    }
    return fixed == value;
}

static int take_inputs(const plan *p, object *const *args, frame *f)
{
    object *leaves[MAX_LEAVES];
    object *const *given = args;
    int at;
    int k = 0;
    if (p->in_steps != p->leaves || p->leaves != p->arguments) { /* not just arrays */
        if (!take_apart(p->in, p->in_steps, args, p->arguments, leaves)) {
            return 0;
        }
        given = leaves;
    }
    for (at = 0; at < p->leaves; at++) {
        const leaf *const t = &p->input[k];
        if (p->fixed[at] != NULL) {
            if (!is_fixed(p->fixed[at], p->fixed_bytes[at], given[at])) {
                return 0;
            }
            continue;
        }
        if (fits(t, given[at], CONTIGUOUS | ALIGNED)) {
            if (t->ndim == 0 && (t->accept & ACCEPT_ARRAY) == 0) {
                return 0;
            }
            f->pointer[k] = ((const array *)given[at])->data;
        } else if (t->ndim == 0 && take_number(t, given[at], &f->number[k])) {
            f->pointer[k] = &f->number[k];
        } else {
            return 0;
        }
        f->held[k] = given[at];
        k++;
    }
    for (at = 0; at < p->hidden; at++, k++) {
        if (fits(&p->input[k], p->source[at], CONTIGUOUS | ALIGNED)) {
            f->pointer[k] = ((const array *)p->source[at])->data;
        } else if (p->input[k].ndim == 0 && take_number(&p->input[k], p->source[at], &f->number[k])) {
            f->pointer[k] = &f->number[k];
        } else {
            return 0;
        }
        f->held[k] = p->source[at];
    }
    for (k = 0; k < p->data; k++) {
        f->pointer[p->inputs + k] = p->captured[k];
    }
    return 1;
}

/* ---- output ---------------------------------------------------------------------------------- */

static int apart(const char *a, size_t a_bytes, const char *b, size_t b_bytes)
{
    return (uintptr_t)a + a_bytes <= (uintptr_t)b || (uintptr_t)b + b_bytes <= (uintptr_t)a;
}

/* Result arrays that the caller hands in: exactly right and apart from everything, or 0. */
static int take_outputs(const plan *p, object *out, object **leaves, frame *f)
{
    int j;
    int k;
    if (!p->takes_out || !take_apart(p->out, p->out_steps, &out, 1, leaves)) {
        return 0;
    }
    for (k = 0; k < p->outputs; k++) {
        const leaf *const t = &p->output[k];
        char *data;
        if (!fits(t, leaves[k], CONTIGUOUS | ALIGNED | WRITEABLE)) {
            return 0;
        }
        data = ((array *)leaves[k])->data;
        for (j = 0; j < p->inputs; j++) {
            if (!apart(data, t->bytes, f->pointer[j], p->input[j].bytes)) {
                return 0;
            }
        }
        for (j = 0; j < k; j++) {
            if (!apart(data, t->bytes, f->result[j], p->output[j].bytes)) {
                return 0;
            }
        }
        f->result[k] = data;
    }
    return 1;
}

static object *to_number(int kind, const scalar *value)
{
    switch (kind) {
    case FLOAT64:
        return PyFloat_FromDouble(value->float64);
    case FLOAT32:
        return PyFloat_FromDouble((double)value->float32);
    case INT64:
        return PyLong_FromLongLong(value->int64);
    case INT32:
        return PyLong_FromLongLong(value->int32);
    default:
        return PyBool_FromLong(value->boolean);
    }
}

/* One container of `children`, whose references it takes over, also when it fails. */
static object *put_together(const step *s, object **children)
{
    object *made = NULL;
    int failed = 0;
    int k;
    if (s->kind == NONE) {
        Py_IncRef(&_Py_NoneStruct);
        return &_Py_NoneStruct;
    }
    if (s->kind == TUPLE || s->kind == LIST) {
        made = (s->kind == TUPLE) ? PyTuple_New(s->arity) : PyList_New(s->arity);
        for (k = 0; k < s->arity; k++) {
            if (made == NULL) {
                Py_DecRef(children[k]);
            } else if (s->kind == TUPLE) {
                (void)PyTuple_SetItem(made, k, children[k]);
            } else {
                (void)PyList_SetItem(made, k, children[k]);
            }
        }
        return made;
    }
    made = PyDict_New();
    for (k = 0; k < s->arity && made != NULL; k++) {
        const long long at = PyLong_AsLongLong(PyTuple_GetItem(s->order, k));
        failed |= PyDict_SetItem(made, PyTuple_GetItem(s->keys, (ptrdiff_t)at), children[at]) < 0;
    }
    for (k = 0; k < s->arity; k++) {
        Py_DecRef(children[k]);
    }
    if (failed && made != NULL) {
        Py_DecRef(made);
        made = NULL;
    }
    return made;
}

/* The result's structure around `leaves`, whose references it takes over. */
static object *assemble(const plan *p, object **leaves)
{
    object *stack[MAX_STEPS];
    object *children[MAX_STEPS];
    int top = 0;
    int left = p->outputs;
    int at;
    int k;
    for (at = p->out_steps - 1; at >= 0; at--) { /* backwards through the preorder */
        const step *const s = &p->out[at];
        object *made;
        if (s->kind == LEAF) {
            made = leaves[--left];
        } else {
            for (k = 0; k < s->arity; k++) {
                children[k] = stack[--top];
            }
            made = put_together(s, children);
        }
        if (made == NULL) {
            while (left > 0) {
                Py_DecRef(leaves[--left]);
            }
            while (top > 0) {
                Py_DecRef(stack[--top]);
            }
            return NULL;
        }
        stack[top++] = made;
    }
    return stack[0];
}
