# SPDX-License-Identifier: MIT
"""gilloc in gdb: commands and pretty-printers, for a live process and for a core dump.

    gilloc arenas          each arena: where, how many of its pools are free, who gave it
    gilloc pools [SIZE]    each pool in use, or those of blocks of SIZE bytes
    gilloc block ADDRESS   what is at an address: live, free and in which list, retired; whose, which kind and size
    gilloc threads         each thread state: status, kernel's thread, heap, what it holds
    gilloc lock            who holds the lock of each interpreter, who waits

Nothing is called in the process; all is read.  It needs the library's debug information (build it with --copt=-g).
The walks are over memory as it is: of a process that is stopped inside gilloc, a list may be half done.

gdb runs all scripts in one namespace, CPython's own among them: every name here begins with gi.  CPython's types have
the names of gilloc's, so those are asked of gilloc's variables.
"""
import struct

import gdb

# --- reading --------------------------------------------------------------------------------------

GI_STATUS = [(1, "attached"), (2, "parked"), (4, "ending"), (8, "stop")]
GI_ASKED = [(1, "drop"), (2, "drain"), (4, "stop"), (8, "reclaim")]
GI_LOCK = [(1, "held"), (2, "waiters"), (4, "woken"), (8, "watched")]
GI_LIST_LIMIT = 1 << 24  # a list that is longer is a ring


def gi_bits(value, names, none):
    return "+".join(name for bit, name in names if value & bit) or none


def gi_symbol(name, file=None):
    """The value of a variable; of a static one, in `file`.  It may be optimised out, or not be there."""
    try:
        return gdb.parse_and_eval("'%s'::%s" % (file, name) if file else name)
    except gdb.error:
        return None


def gi_need(name, file=None):
    value = gi_symbol(name, file)
    if value is None or value.type.code == gdb.TYPE_CODE_ERROR:
        raise gdb.GdbError("there is no %s: gilloc is not loaded, or has no debug information (build it with --copt=-g)"
                           % name)
    return value


def gi_read(address, form):
    return struct.unpack(form, bytes(gdb.selected_inferior().read_memory(address, struct.calcsize(form))))[0]


def gi_pointer(address):
    return gi_read(address, "=Q")


def gi_fields(value, *names):
    return [int(value[name]) for name in names]


class GiHeap:
    """All that is looked up more than once."""

    def __init__(self):
        self.layout = {f.name: int(gi_need("gi_the_layout")[f.name]) for f in gi_need("gi_the_layout").type.fields()}
        self.reserved = gi_need("gi_os_reserved")
        self.base, self.pages, self.descriptors = gi_fields(self.reserved, "base", "pages", "descriptors")
        self.pool_type = gdb.lookup_type("gi_pool").pointer()
        key = gi_symbol("gi_link_key")  # links are encoded by it in hardened mode
        self.key = int(key) if key is not None else 0
        tool = gi_symbol("gi_tool_now")
        self.watched = tool is not None and int(tool) in (1, 2, 3)
        self.free_threaded = int(gi_need("gi_the_world")["free_threaded"]) != 0

    # --- pages, pools

    def word_address(self, address):
        """Of the page of an address, or 0; and of its pool's descriptor."""
        page = (address - self.base) >> self.layout["pool_shift"]
        if self.base and 0 <= page < self.pages:
            return self.base + 4 * page, self.descriptors + 64 * page
        windows = gi_need("windows", "address_map.c")
        window_type = gdb.lookup_type("gi_window")
        number = address >> 28
        if int(windows) == 0 or number >= 1 << 19:
            return 0, 0
        window = gi_pointer(int(windows) + 8 * number)
        page = (address >> self.layout["pool_shift"]) & ((1 << (28 - self.layout["pool_shift"])) - 1)
        if window == 0:
            return 0, 0
        pools = [field.bitpos // 8 for field in window_type.fields() if field.name == "pools"][0]
        return window + 4 * page, window + pools + gdb.lookup_type("gi_pool").sizeof * page

    def word(self, address):
        at, _ = self.word_address(address)
        return gi_read(at, "=I") if at else 0

    def pool(self, address):
        return gdb.Value(self.word_address(address)[1]).cast(self.pool_type).dereference()

    def split(self, word):
        """Heap, kind, class."""
        at = self.layout
        return word >> at["heap_shift"], word >> at["kind_shift"] & at["kind_mask"], \
            word >> at["class_shift"] & at["class_mask"]

    def size(self, size_class):
        return (size_class + 1) * self.layout["alignment"]

    def kind(self, kind):
        return gi_need("gi_kinds")[kind]["name"].string()

    def arenas(self):
        lists = gi_need("lists", "arena.c")
        found = []
        for n in range(lists.type.range()[1] + 1):
            arena = lists[n]
            while int(arena) != 0:
                found.append(arena.dereference())
                arena = arena["next"]
        return sorted(found, key=lambda arena: int(arena["memory"]))

    def pools(self, arena):
        """(address, descriptor, word) of each."""
        first = int(arena["pools"]["memory"])
        for i in range(int(arena["pool_count"])):
            address = first + (i << self.layout["pool_shift"])
            yield address, self.pool(address), self.word(address)

    # --- interpreters, states, heaps

    def interpreters(self):
        """(number, struct _is), the main one first."""
        registry, found = gi_need("registries", "stop.c"), []
        kind = gi_need("gi_main_interpreter").type.pointer()
        while int(registry) != 0:
            found.append(registry.cast(kind).dereference())
            registry = registry["next"]
        return list(enumerate(reversed(found)))

    def states(self, interpreter, spare=False):
        thread = interpreter["registry"]["spare" if spare else "first"]
        kind = gdb.lookup_global_symbol("gi_this").type["gilstate"].type
        while int(thread) != 0:
            yield thread.cast(kind).dereference()
            thread = thread["next"]

    def owner(self, number):
        """Whose the heap of a number is, in words."""
        for i, interpreter in self.interpreters():
            if int(interpreter["group"]["shared"]["number"]) == number:
                return "shared heap %d%s" % (number, " of interpreter %d" % i if i else "")
            for state in self.states(interpreter):
                if int(state["cache"]["own"]["number"]) == number:
                    return "heap %d of %s" % (number, gi_name_of(state))
            for state in self.states(interpreter, spare=True):
                if int(state["cache"]["own"]["number"]) == number:
                    return "heap %d of a spare state" % number
        return "heap %d" % number

    # --- lists

    def links(self, first):
        count = 0
        while first != 0:
            yield first
            count += 1
            if count > GI_LIST_LIMIT:
                return
            first = gi_pointer(first) ^ self.key

    def lists(self, kind, size_class):
        """(what, first link) of each list of free blocks outside pools."""
        for _, interpreter in self.interpreters():
            group = interpreter["group"]
            stash = group["stash"]["kinds"][kind]
            for i in range(int(stash["classes"][size_class]["count"])):
                yield "the stash", int(stash["rows"][i]["lists"][size_class])
            for spare in (False, True):
                for state in self.states(interpreter, spare):
                    cache, name = state["cache"], gi_name_of(state)
                    bins = cache["bins"][kind]
                    yield "bin (alloc) of " + name, int(bins[1 + size_class]["alloc"])
                    yield "bin (free) of " + name, int(bins[1 + size_class]["free"])
                    if size_class == 0:
                        yield "bin (0 bytes) of " + name, int(bins[0]["alloc"])
                    remote = int(cache["own"]["remote"][kind][size_class]["head"])
                    if remote > 1:
                        yield "remote list of " + name, remote
                    slots = cache["remote"]
                    for i in range(slots.type.range()[1] + 1):
                        if int(slots[i]["count"]) != 0 and self.split(int(slots[i]["word"]))[1:] == (kind, size_class):
                            yield "remote slot of " + name, int(slots[i]["first"])

    def retired(self):
        """(who, block) of all that waits for a grace period."""
        for i, interpreter in self.interpreters():
            chains = [("interpreter %d" % i, interpreter["group"]["left"])]
            for state in self.states(interpreter):
                chains.append((gi_name_of(state), state["cache"]["retired"]["chunks"]))
            for who, chunk in chains:
                while int(chunk) != 0:
                    words = int(chunk) + chunk.type.target().sizeof
                    for n in range(int(chunk["count"])):
                        yield who, gi_pointer(words + 8 * n) & ~0xF
                    chunk = chunk["next"]


def gi_status_of(state):
    return int(state["thread"]["status"])


def gi_name_of(state):
    thread = int(state["thread"]["thread"])
    return "state %#x%s" % (int(state.address), " (thread %d)" % thread if thread else "")


def gi_table(head, rows):
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in rows + [head]) for i in range(len(head))]
    for row in [head] + rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


# --- commands -------------------------------------------------------------------------------------


class Gilloc(gdb.Command):
    """What gilloc's heap and lock look like: gilloc arenas | pools [SIZE] | block ADDRESS | threads | lock"""

    def __init__(self):
        super().__init__("gilloc", gdb.COMMAND_DATA, prefix=True)


class GiSub(gdb.Command):
    def __init__(self):
        super().__init__("gilloc " + type(self).__name__[2:].lower(), gdb.COMMAND_DATA)

    def invoke(self, argument, from_tty):
        self.run(GiHeap(), gdb.string_to_argv(argument))


class GiArenas(GiSub):
    """Each arena: where it is, how many of its pools are free, and of these dirty, and who gave it."""

    def run(self, heap, _):
        rows = []
        for arena in heap.arenas():
            count, free, dirty = int(arena["pool_count"]), int(arena["free_count"]), int(arena["dirty"])
            rows.append(["%#x" % int(arena["memory"]), count, count - free, free, bin(dirty).count("1"),
                         "gilloc" if bool(arena["ours"]) else "arena allocator"])
        gi_table(["arena", "pools", "in use", "free", "dirty", "from"], rows)


class GiPools(GiSub):
    """Each pool in use; with SIZE those whose blocks have that many bytes."""

    def run(self, heap, arguments):
        wanted = int(gdb.parse_and_eval(arguments[0])) if arguments else None
        rows = []
        for arena in heap.arenas():
            for address, pool, word in heap.pools(arena):
                number, kind, size_class = heap.split(word)
                if number != 0 and wanted in (None, heap.size(size_class)):
                    taken, free, carved, capacity = gi_fields(pool, "taken", "free_count", "carved", "capacity")
                    rows.append(["%#x" % address, heap.size(size_class), heap.kind(kind), taken, free, carved, capacity,
                                 heap.owner(number)])
        gi_table(["pool", "size", "kind", "taken", "free", "carved", "capacity", "of"], rows)


class GiBlock(GiSub):
    """What is at ADDRESS: a block, live, free (in which list), retired or not carved; its start, size, kind, owner."""

    def run(self, heap, arguments):
        if not arguments:
            raise gdb.GdbError("usage: gilloc block ADDRESS")
        value = gdb.parse_and_eval(" ".join(arguments))
        if value.type.code == gdb.TYPE_CODE_FUNC:
            value = value.address
        address = int(value) & (1 << 64) - 1
        word = heap.word(address)
        number, kind, size_class = heap.split(word)
        if word == 0:
            inside = heap.base <= address < heap.base + (heap.pages << heap.layout["pool_shift"])
            print("%#x is in no arena: %s" % (address, "gilloc's own memory" if inside else
                  "a block of more than 512 bytes, one of the raw domain, or none of gilloc's"))
            self.retired(heap, address)
            return
        if number == 0:
            print("%#x is in an arena, in a page that is no pool: no block is there" % address)
            return
        pool, size = heap.pool(address), heap.size(size_class)
        memory, carved, capacity = gi_fields(pool, "memory", "carved", "capacity")
        index = (address - memory) // size
        slot = memory + index * size
        start = slot + (heap.layout["watched_header"] if heap.watched else 0)
        print("block    %#x, of %d bytes%s" % (start, size - (start - slot), self.place(address, start)))
        print("kind     %s" % heap.kind(kind))
        print("state    %s" % self.state(heap, pool, slot, start, index, carved, capacity, kind, size_class))
        print("pool     %#x, of %s" % (memory, heap.owner(number)))
        if heap.watched:
            word = gi_pointer(slot + 8)
            print("watched  %s" % ("live, asked for with %d bytes" % (word & 0xFFFFFFFF) if word >> 32 == 0x6c697665
                                   else "not live"))

    def place(self, address, start):
        if address == start:
            return ""
        return "; the address is %d bytes %s it" % (abs(address - start), "into" if address > start else "before")

    def state(self, heap, pool, slot, start, index, carved, capacity, kind, size_class):
        if index >= capacity:
            return "none: the tail of the pool, where no block fits"
        if index >= carved:
            return "not carved: it has never been handed out"
        link = slot + int(pool["link_offset"])
        if link in heap.links(int(pool["free"])):
            return "free, in the list of its pool"
        for what, first in heap.lists(kind, size_class):
            if link in heap.links(first):
                return "free, in the " + what.replace("the ", "", 1)
        who = [who for who, block in heap.retired() if block == start]
        return "retired by %s: it waits for a grace period" % who[0] if who else "live"

    def retired(self, heap, address):
        for who, block in heap.retired():
            if block == address:
                print("state    retired by %s: it waits for a grace period" % who)


class GiThreads(GiSub):
    """Each thread state that is in use."""

    def run(self, heap, _):
        known = {thread.ptid[1] or thread.ptid[2]: thread.num for thread in gdb.selected_inferior().threads()}
        rows = []
        for i, interpreter in heap.interpreters():
            for state in heap.states(interpreter):
                cache, thread = state["cache"], int(state["thread"]["thread"])
                rows.append([
                    "%#x" % int(state.address), i, gi_bits(gi_status_of(state), GI_STATUS, "detached"), thread or "-",
                    known.get(thread, "-"), int(cache["own"]["number"]), int(cache["own"]["pools"]),
                    int(cache["retired"]["bytes"]), gi_bits(int(state["thread"]["asked"]["bits"]), GI_ASKED, "-"),
                ])
        print("GIL-free mode" if heap.free_threaded else "gil mode")
        gi_table(["state", "interpreter", "status", "thread", "gdb", "heap", "pools", "retired", "asked"], rows)


class GiLock(GiSub):
    """The lock of each interpreter: who holds it, who waits."""

    def run(self, heap, _):
        for i, interpreter in heap.interpreters():
            gil = interpreter["registry"]["gil"]
            names = {int(state["thread"]["asked"].address): gi_name_of(state) for state in heap.states(interpreter)}
            print("interpreter %d: %s" % (i, gi_bits(int(gil["state"]), GI_LOCK, "free")))
            if int(gil["outer"]["acquire"]) != 0:
                print("  the runtime has a lock of its own")
            holder = int(gil["holder"])
            if holder:
                print("  held by %s" % names.get(holder, "who stops the world"))
            takes, waits, handoffs = gi_fields(gil, "takes", "waits", "handoffs")
            print("  taken %d times, waited for %d times, handed over %d times" % (takes, waits, handoffs))
            for queue in ("early", "late"):
                waiter = gil[queue]["first"]
                while int(waiter) != 0:
                    print("  waits (%s): %s" % (queue, names.get(int(waiter["asked"]), "who stops the world")))
                    waiter = waiter["next"]


# --- pretty-printers ------------------------------------------------------------------------------


def gi_print_state(state):
    words = gi_bits(gi_status_of(state), GI_STATUS, "detached")
    return "{%s, thread %d, heap %d}" % (words, int(state["thread"]["thread"]), int(state["cache"]["own"]["number"]))


def gi_print_pool(pool):
    if int(pool["memory"]) == 0 or int(pool["capacity"]) == 0:
        return "{not in use}"
    heap = GiHeap()
    return "{%#x, %s, %d bytes: %d taken, %d free, %d carved of %d}" % (
        int(pool["memory"]), heap.kind(int(pool["kind"])), heap.size(int(pool["size_class"])),
        *gi_fields(pool, "taken", "free_count", "carved", "capacity"))


def gi_print_word(word):
    value, heap = int(word), GiHeap()
    number, kind, size_class = heap.split(value)
    if number == 0:
        return "{no arena}" if value == 0 else "{no pool}"
    return "{%s, %s, %d bytes}" % (heap.owner(number), heap.kind(kind), heap.size(size_class))


class GiPrinter:
    def __init__(self, value, to_string):
        self.value, self.print = value, to_string

    def to_string(self):
        return self.print(self.value)


GI_PRINTERS = {
    "_ts": gi_print_state, "PyThreadState": gi_print_state, "gi_pool": gi_print_pool, "gi_page_word": gi_print_word
}


def gi_find_printer(value):
    printer = GI_PRINTERS.get(value.type.name) or GI_PRINTERS.get(value.type.unqualified().tag)
    if printer == gi_print_state and "cache" not in value.type.strip_typedefs().keys():
        return None  # CPython's
    return GiPrinter(value, printer) if printer else None


gi_find_printer.__name__ = "gilloc"


def gi_load():
    Gilloc()
    for command in (GiArenas, GiPools, GiBlock, GiThreads, GiLock):
        command()
    printers = gdb.pretty_printers
    printers[:] = [printer for printer in printers if getattr(printer, "__name__", "") != "gilloc"] + [gi_find_printer]


gi_load()
