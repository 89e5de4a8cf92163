/* Plans: what is to be known of a function in order to call it, and how Python says it. */

enum { MAX_LEAVES = 32, MAX_NDIM = 8, MAX_STEPS = 64, MAX_DEPTH = 8 };
enum { LEAF, TUPLE, LIST, DICT, NONE };                         /* steps of a structure */
enum { FLOAT64, FLOAT32, INT64, INT32, BOOLEAN };               /* kinds of an element */
enum { ACCEPT_PYTHON = 1, ACCEPT_NUMPY = 2, ACCEPT_ARRAY = 4 }; /* what may stand for a scalar */

typedef union {
    double float64;
    float float32;
    int64_t int64;
    int32_t int32;
    unsigned char boolean;
} scalar;

typedef struct {
    object *dtype;
    int kind;
    int accept;
    int ndim;
    intptr_t shape[MAX_NDIM];
    size_t bytes;
} leaf;

typedef struct {
    int kind;
    int arity;
    object *keys;  /* of a dict, in the order of its leaves */
    object *order; /* positions in keys, in the order of insertion */
} step;

typedef struct plan {
    struct plan *next;
    int users; /* calls under way; whoever ends the last one frees a plan that is no longer wanted */
    int unwanted;
    int (*entry)(const void *const *, void *const *, void *);
    int arguments; /* positional ones */
    int inputs;
    int hidden; /* of the inputs the last ones, which the caller does not give */
    int leaves; /* what it does give: other inputs, and values that are compiled in */
    int outputs;
    int data;
    int takes_out;
    int releases_gil;
    int in_steps;
    int out_steps;
    step in[MAX_STEPS];
    step out[MAX_STEPS];
    object *fixed[MAX_LEAVES]; /* of each leaf the value that it must have, or NULL */
    size_t fixed_bytes[MAX_LEAVES]; /* of those that are arrays */
    leaf input[MAX_LEAVES];
    object *source[MAX_LEAVES]; /* arrays for the hidden ones */
    leaf output[MAX_LEAVES];
    const void *captured[MAX_LEAVES];
    size_t workspace_bytes;
    void *workspace; /* one spare block; whoever finds none allocates its own */
    object *keep;    /* the library and the captured arrays */
} plan;


/* ---- plans from Python ----------------------------------------------------------------------- */

static object *refused(void)
{
    PyErr_SetString(PyExc_TypeError, "not what symgrad/runtime/dispatch.py passes");
    return NULL;
}

/* Whether `value` is a tuple of `least` to `most` elements. */
static int is_tuple(object *value, ptrdiff_t least, ptrdiff_t most)
{
    return value->type == &PyTuple_Type && PyTuple_Size(value) >= least && PyTuple_Size(value) <= most;
}

/* Whether tuple[at] is an int from 0 to `most`. */
static int integer(object *tuple, ptrdiff_t at, long long most, long long *to)
{
    object *const value = PyTuple_GetItem(tuple, at);
    if (value->type != &PyLong_Type) {
        return 0;
    }
    *to = PyLong_AsLongLong(value);
    if (PyErr_Occurred() != NULL) {
        PyErr_Clear();
        return 0;
    }
    return *to >= 0 && *to <= most;
}

/* (kind, arity, keys, order) for each container and (LEAF, 0, ...) for each leaf, in preorder, of `open`
 * values with `leaves` leaves. Returns the number of steps, or -1 if `given` is anything else. */
static int read_steps(object *given, long long open, int leaves, step *steps)
{
    long long number[2];
    long long at;
    int n;
    int k;
    int j;
    if (!is_tuple(given, 0, MAX_STEPS)) {
        return -1;
    }
    n = (int)PyTuple_Size(given);
    for (k = 0; k < n; k++) {
        object *const row = PyTuple_GetItem(given, k);
        if (!is_tuple(row, 4, 4) || !integer(row, 0, NONE, &number[0])
            || !integer(row, 1, MAX_STEPS, &number[1])) {
            return -1;
        }
        steps[k].kind = (int)number[0];
        steps[k].arity = (int)number[1];
        steps[k].keys = PyTuple_GetItem(row, 2);
        steps[k].order = PyTuple_GetItem(row, 3);
        if ((steps[k].kind == LEAF || steps[k].kind == NONE) && steps[k].arity != 0) {
            return -1;
        }
        if (steps[k].kind == DICT) {
            if (!is_tuple(steps[k].keys, number[1], number[1]) || !is_tuple(steps[k].order, number[1], number[1])) {
                return -1;
            }
            for (j = 0; j < steps[k].arity; j++) {
                if (!integer(steps[k].order, j, number[1] - 1, &at)) {
                    return -1;
                }
            }
        }
        if (open < 1) {
            return -1;
        }
        open += number[1] - 1;
        leaves -= (steps[k].kind == LEAF);
    }
    return (open == 0 && leaves == 0) ? n : -1;
}

/* (dtype, kind, accept, bytes, shape) for each leaf; their number, or -1. */
static int read_leaves(object *given, leaf *leaves)
{
    long long number[3];
    long long size;
    int n;
    int j;
    int k;
    if (!is_tuple(given, 0, MAX_LEAVES)) {
        return -1;
    }
    n = (int)PyTuple_Size(given);
    for (k = 0; k < n; k++) {
        object *const row = PyTuple_GetItem(given, k);
        object *shape;
        if (!is_tuple(row, 5, 5) || !integer(row, 1, BOOLEAN, &number[0]) || !integer(row, 2, 7, &number[1])
            || !integer(row, 3, INT64_MAX, &number[2]) || !is_tuple(PyTuple_GetItem(row, 4), 0, MAX_NDIM)) {
            return -1;
        }
        shape = PyTuple_GetItem(row, 4);
        leaves[k].dtype = PyTuple_GetItem(row, 0);
        leaves[k].kind = (int)number[0];
        leaves[k].accept = (int)number[1];
        leaves[k].bytes = (size_t)number[2];
        leaves[k].ndim = (int)PyTuple_Size(shape);
        for (j = 0; j < leaves[k].ndim; j++) {
            if (!integer(shape, j, INT64_MAX, &size)) {
                return -1;
            }
            leaves[k].shape[j] = (intptr_t)size;
        }
    }
    return n;
}

/* (number of the leaf, value, bytes) for each that is compiled in; how many, or -1. */
static int read_fixed(object *given, object **fixed, size_t *bytes)
{
    long long at;
    long long size;
    int k;
    if (!is_tuple(given, 0, MAX_LEAVES)) {
        return -1;
    }
    for (k = 0; k < (int)PyTuple_Size(given); k++) {
        object *const row = PyTuple_GetItem(given, k);
        if (!is_tuple(row, 3, 3) || !integer(row, 0, MAX_LEAVES - 1, &at) || !integer(row, 2, INT64_MAX, &size)) {
            return -1;
        }
        bytes[at] = (size_t)size;
        fixed[at] = PyTuple_GetItem(row, 1);
    }
    return (int)PyTuple_Size(given);
}

/* Everything of a plan but `keep`; 0 if `given` has another form. */
static int read_plan(object *given, plan *p)
{
    long long number[4];
    object *captured;
    object *hidden;
    void *address;
    int k;
    if (!is_tuple(given, 13, 13) || PyTuple_GetItem(given, 0)->type != &PyLong_Type
        || !integer(given, 6, MAX_LEAVES + MAX_STEPS, &number[0]) || !integer(given, 7, INT64_MAX - 64, &number[1])
        || !integer(given, 8, 1, &number[2]) || !integer(given, 9, 1, &number[3])) {
        return 0;
    }
    address = PyLong_AsVoidPtr(PyTuple_GetItem(given, 0));
    memcpy(&p->entry, &address, sizeof address);
    p->inputs = read_leaves(PyTuple_GetItem(given, 3), p->input);
    p->outputs = read_leaves(PyTuple_GetItem(given, 4), p->output);
    p->arguments = (int)number[0];
    hidden = PyTuple_GetItem(given, 11);
    if (!is_tuple(hidden, 0, MAX_LEAVES) || PyTuple_Size(hidden) > p->inputs) {
        return 0;
    }
    p->hidden = (int)PyTuple_Size(hidden);
    for (k = 0; k < p->hidden; k++) {
        p->source[k] = PyTuple_GetItem(hidden, k);
    }
    p->leaves = p->inputs - p->hidden + read_fixed(PyTuple_GetItem(given, 10), p->fixed, p->fixed_bytes);
    if (p->leaves < p->inputs - p->hidden || p->leaves > MAX_LEAVES) {
        return 0;
    }
    p->in_steps = read_steps(PyTuple_GetItem(given, 1), number[0], p->leaves, p->in);
    p->out_steps = read_steps(PyTuple_GetItem(given, 2), 1, p->outputs, p->out);
    captured = PyTuple_GetItem(given, 5);
    if (p->inputs < 0 || p->outputs < 0 || p->in_steps < 0 || p->out_steps < 0
        || !is_tuple(captured, 0, MAX_LEAVES)) {
        return 0;
    }
    p->data = (int)PyTuple_Size(captured);
    for (k = 0; k < p->data; k++) {
        if (PyTuple_GetItem(captured, k)->type != &PyLong_Type) {
            return 0;
        }
        p->captured[k] = PyLong_AsVoidPtr(PyTuple_GetItem(captured, k));
    }
    p->workspace_bytes = (size_t)number[1];
    p->takes_out = (int)number[2];
    p->releases_gil = (int)number[3];
    return address != NULL && PyErr_Occurred() == NULL;
}
