/* Memory of large results.
 *
 * Fresh pages of the kernel can cost more than the computing. The memory of results that were let go
 * is therefore kept for the next ones: blocks of RECYCLED bytes or more, POOL_BYTES of them at most.
 * Nobody waits for the pool: whoever finds it busy does without, as does a process that was forked
 * while another thread was at it. */

enum { POOL_BLOCKS = 64, CACHE_LINE = 64, PAGE = 4096 };
static const size_t RECYCLED = (size_t)1 << 16;
static const size_t POOL_BYTES = (size_t)1 << 26;
static const size_t ASK_FOR_HUGE = (size_t)1 << 22; /* as NumPy does */

static struct {
    char busy;
    int count;
    size_t bytes;
    struct {
        void *start;
        size_t bytes;
    } block[POOL_BLOCKS]; /* in the order in which they were let go */
} pool;

static int enter_pool(void)
{
    return !__atomic_test_and_set(&pool.busy, __ATOMIC_ACQUIRE);
}

static void leave_pool(void)
{
    __atomic_clear(&pool.busy, __ATOMIC_RELEASE);
}

static void *take_block(int k)
{
    void *const start = pool.block[k].start;
    pool.bytes -= pool.block[k].bytes;
    pool.count--;
    memmove(&pool.block[k], &pool.block[k + 1], (size_t)(pool.count - k) * sizeof pool.block[0]);
    return start;
}

/* The last block of about this size, which the caches may still hold. */
static void *recycled(size_t size)
{
    void *found = NULL;
    int k;
    if (enter_pool()) {
        for (k = pool.count - 1; k >= 0 && found == NULL; k--) {
            if (pool.block[k].bytes >= size && pool.block[k].bytes - size <= size / 8) {
                found = take_block(k);
            }
        }
        leave_pool();
    }
    return found;
}

/* Lets the oldest blocks go until there is room for one more of so many bytes. */
static void make_room(size_t bytes)
{
    while (pool.count > 0 && (pool.count == POOL_BLOCKS || pool.bytes + bytes > POOL_BYTES)) {
        free(take_block(0));
    }
}

static void *result_malloc(void *unused, size_t size)
{
    void *made = NULL;
    (void)unused;
    if (size < RECYCLED) {
        return malloc(size);
    }
    made = recycled(size);
    if (made != NULL) {
        return made;
    }
    if (posix_memalign(&made, CACHE_LINE, size) != 0) {
        if (enter_pool()) {
            make_room(POOL_BYTES);
            leave_pool();
        }
        if (posix_memalign(&made, CACHE_LINE, size) != 0) {
            return NULL;
        }
    }
    if (size >= ASK_FOR_HUGE) {
        const size_t before = (PAGE - (uintptr_t)made % PAGE) % PAGE;
        (void)madvise((char *)made + before, size - before, MADV_HUGEPAGE);
    }
    return made;
}

static void *result_calloc(void *unused, size_t count, size_t size)
{
    (void)unused;
    return calloc(count, size);
}

static void *result_realloc(void *unused, void *start, size_t size)
{
    (void)unused;
    return realloc(start, size);
}

/* The size is asked of malloc: a header that was changed in place need not tell the truth. */
static void result_free(void *unused, void *start, size_t unreliable)
{
    const size_t bytes = malloc_usable_size(start);
    (void)unused;
    (void)unreliable;
    if (bytes < RECYCLED || bytes > POOL_BYTES || !enter_pool()) {
        free(start);
        return;
    }
    make_room(bytes);
    pool.block[pool.count].start = start;
    pool.block[pool.count].bytes = bytes;
    pool.count++;
    pool.bytes += bytes;
    leave_pool();
}

static memory_handler recycling
    = {"symgrad", 1, NULL, result_malloc, result_calloc, result_realloc, result_free};
static object *recycler; /* the same as an object */

/* A fresh array. Large ones have recycled memory, unless the user chose where arrays come from. */
static object *make_result(object *dtype, int ndim, const intptr_t *shape, size_t bytes)
{
    object *error[3] = {NULL, NULL, NULL};
    object *handler = NULL;
    object *made;
    if (bytes >= RECYCLED) {
        handler = use_handler(recycler);
        if (handler == NULL) {
            return NULL;
        }
        if (handler != default_handler) {
            Py_DecRef(use_handler(handler));
            Py_DecRef(handler);
            handler = NULL;
        }
    }
    Py_IncRef(dtype);
    made = make_array(array_type, dtype, ndim, shape, NULL, NULL, 0, NULL);
    if (handler != NULL) {
        PyErr_Fetch(&error[0], &error[1], &error[2]);
        Py_DecRef(use_handler(handler));
        Py_DecRef(handler);
        PyErr_Restore(error[0], error[1], error[2]);
    }
    return made;
}
