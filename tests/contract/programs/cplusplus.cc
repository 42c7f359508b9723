// cplusplus.cc - new and delete of C++, on top of the stage's malloc.
//
// The stage exports none of these operators. Those of the C++ library call
// malloc, aligned_alloc and free.

#include "program.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <exception>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <new>
#include <set>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

namespace
{

// A size that no malloc grants, and that the compiler does not know.
std::size_t huge()
{
    return reinterpret_cast<std::size_t>(hidden(nullptr)) + PTRDIFF_MAX;
}

bool is_aligned(const void *p, std::size_t alignment)
{
    return reinterpret_cast<std::uintptr_t>(p) % alignment == 0;
}

// An object with a constructor and a destructor that can be counted.
struct counted {
    static int live;
    long value;
    counted() : value(17)
    {
        live++;
    }
    counted(const counted &) = delete;
    counted &operator=(const counted &) = delete;
    ~counted()
    {
        live--;
    }
};
int counted::live;

void new_and_delete()
{
    auto *p = static_cast<counted *>(hidden(new counted));
    REQUIRE(p->value == 17 && counted::live == 1);
    delete p;
    REQUIRE(counted::live == 0);
}

void new_and_delete_array()
{
    for (std::size_t n = 0; n < 300; n += 7) {
        auto *p = static_cast<counted *>(hidden(new counted[n]));
        REQUIRE(counted::live == static_cast<int>(n));
        for (std::size_t i = 0; i < n; i++)
            REQUIRE(p[i].value == 17);
        delete[] p;
        REQUIRE(counted::live == 0);
    }
}

// The operators, as functions: with and without the size.
void operators()
{
    for (std::size_t size = 1; size < 1000000; size = size * 3 + 1) {
        void *p = ::operator new(size);
        void *q = ::operator new[](size);
        REQUIRE(is_aligned(p, __STDCPP_DEFAULT_NEW_ALIGNMENT__));
        REQUIRE(is_aligned(q, __STDCPP_DEFAULT_NEW_ALIGNMENT__));
        fill(p, size, 1);
        fill(q, size, 2);
        REQUIRE(is_filled(p, size, 1) && is_filled(q, size, 2));
        ::operator delete(p);
        ::operator delete[](q);
        ::operator delete(fill(::operator new(size), size, 3), size);
        ::operator delete[](fill(::operator new[](size), size, 4), size);
    }
    ::operator delete(nullptr);
    ::operator delete[](nullptr);
}

void new_0_is_unique()
{
    std::set<void *> blocks;
    for (int i = 0; i < 100; i++) {
        void *p = ::operator new(0);
        REQUIRE(p != nullptr && blocks.insert(p).second);
        void *q = hidden(new char[0]);
        REQUIRE(q != nullptr && blocks.insert(q).second);
    }
    for (void *p : blocks)
        ::operator delete(p);
}

void new_huge_throws()
{
    int caught = 0;
    try {
        (void)hidden(new char[huge()]);
    } catch (const std::bad_alloc &) {
        caught++;
    }
    try {
        // More elements than there are addresses.
        (void)hidden(new long[huge()]);
    } catch (const std::bad_alloc &) {
        caught++;
    }
    try {
        std::vector<char> v;
        v.reserve(huge());
    } catch (const std::bad_alloc &) {
        caught++;
    }
    REQUIRE(caught == 3);
    delete new counted; // and it works again
}

void new_nothrow()
{
    REQUIRE(::operator new(huge(), std::nothrow) == nullptr);
    REQUIRE(::operator new[](huge(), std::nothrow) == nullptr);
    REQUIRE(::operator new(huge(), std::align_val_t(64), std::nothrow) ==
            nullptr);
    void *p = ::operator new(100, std::nothrow);
    REQUIRE(p != nullptr);
    ::operator delete(p, std::nothrow);
    auto *q = new (std::nothrow) counted;
    REQUIRE(q != nullptr && q->value == 17);
    delete q;
}

void new_aligned()
{
    const std::vector<std::size_t> sizes{1, 31, 100, 5000, 100000};
    for (std::size_t align = 32; align <= 4096; align *= 2) {
        for (const std::size_t size : sizes) {
            const auto a = std::align_val_t(align);
            void *p = ::operator new(size, a);
            void *q = ::operator new[](size, a);
            void *r = ::operator new(size, a, std::nothrow);
            REQUIRE(is_aligned(p, align) && is_aligned(q, align));
            REQUIRE(r != nullptr && is_aligned(r, align));
            fill(p, size, 1);
            fill(q, size, 2);
            fill(r, size, 3);
            REQUIRE(is_filled(p, size, 1) && is_filled(q, size, 2));
            ::operator delete(p, a);
            ::operator delete[](q, size, a);
            ::operator delete(r, size, a);
        }
    }
}

void new_aligned_types()
{
    struct alignas(512) wide {
        char bytes[700];
    };
    for (int i = 0; i < 20; i++) {
        auto *p = static_cast<wide *>(hidden(new wide));
        auto *q = static_cast<wide *>(hidden(new wide[3]));
        auto shared = std::make_shared<wide>();
        std::vector<wide> v(5);
        REQUIRE(is_aligned(p, 512) && is_aligned(q, 512));
        REQUIRE(is_aligned(shared.get(), 512) && is_aligned(v.data(), 512));
        delete p;
        delete[] q;
    }
}

// Called when there is no memory, until it throws or there is some.
int handler_calls;

void give_up_the_third_time()
{
    if (++handler_calls == 3)
        throw std::bad_alloc();
}

void new_handler()
{
    std::set_new_handler(give_up_the_third_time);
    bool caught = false;
    try {
        (void)hidden(::operator new(huge()));
    } catch (const std::bad_alloc &) {
        caught = true;
    }
    std::set_new_handler(nullptr);
    REQUIRE(caught && handler_calls == 3);
}

void vectors()
{
    std::vector<std::vector<int>> all(50);
    for (int i = 0; i < 20000; i++)
        all[static_cast<std::size_t>(i * 7 % 50)].push_back(i);
    for (std::size_t i = 0; i < all.size(); i += 2) {
        all[i].shrink_to_fit();
        all[i].insert(all[i].begin(), -1);
    }
    long sum = 0;
    for (const auto &v : all)
        for (int i : v)
            sum += i;
    REQUIRE(sum == 20000L * 19999 / 2 - 25);
}

void strings_and_maps()
{
    std::map<std::string, std::string> sorted;
    std::unordered_map<std::string, int> hashed;
    for (int i = 0; i < 3000; i++) {
        const std::string key = std::to_string(i * 7919 % 3000);
        sorted[key] += key + std::string(static_cast<std::size_t>(i % 90), 'x');
        hashed[key]++;
        if (i % 3 == 0)
            hashed.erase(std::to_string(i));
    }
    REQUIRE(sorted.size() == 3000);
    REQUIRE(std::is_sorted(sorted.begin(), sorted.end()));
    for (const auto &[key, value] : sorted)
        REQUIRE(value.compare(0, key.size(), key) == 0);
    while (sorted.size() > 10)
        sorted.erase(std::next(sorted.begin(), 5));
    REQUIRE(sorted.size() == 10);
}

void lists()
{
    std::list<std::string> words;
    for (int i = 0; i < 2000; i++)
        words.push_front(std::string(static_cast<std::size_t>(i % 60), 'a'));
    words.sort();
    words.unique();
    REQUIRE(words.size() == 60 && words.back().size() == 59);
}

// An exception is allocated, too, and may be kept.
void throw_deep(int depth)
{
    counted c;
    const std::string text(100, 'e');
    if (depth == 0)
        throw std::runtime_error(text);
    throw_deep(depth - 1);
}

void exceptions()
{
    std::vector<std::exception_ptr> kept;
    for (int i = 0; i < 100; i++) {
        try {
            throw_deep(i % 10);
        } catch (const std::exception &) {
            kept.push_back(std::current_exception());
        }
    }
    REQUIRE(counted::live == 0);
    for (const auto &e : kept) {
        try {
            std::rethrow_exception(e);
        } catch (const std::runtime_error &error) {
            REQUIRE(std::string(error.what()) == std::string(100, 'e'));
        }
    }
}

// A constructor that throws: what new allocated is freed.
void constructor_throws()
{
    struct failing {
        counted member;
        failing()
        {
            throw std::logic_error("no");
        }
    };
    int caught = 0;
    for (int i = 0; i < 100; i++) {
        try {
            (void)hidden(new failing[3]);
        } catch (const std::logic_error &) {
            caught++;
        }
    }
    REQUIRE(caught == 100 && counted::live == 0);
}

void smart_pointers()
{
    struct node {
        std::shared_ptr<node> next;
        std::unique_ptr<std::string> name;
        std::function<std::size_t()> size;
    };
    std::shared_ptr<node> head;
    for (std::size_t i = 0; i < 500; i++) {
        auto n = std::make_shared<node>();
        n->name = std::make_unique<std::string>(i, 'n');
        const std::string captured(i, 'c');
        n->size = [captured] { return captured.size(); };
        n->next = std::move(head);
        head = std::move(n);
    }
    for (std::size_t i = 500; i-- > 0; head = head->next)
        REQUIRE(head->name->size() == i && head->size() == i);
    REQUIRE(head == nullptr);
}

// What is constructed before main is destroyed after it.
std::map<int, std::string> global{{1, std::string(1000, 'g')}};

void globals()
{
    static std::vector<std::string> local(10, std::string(100, 'l'));
    global[2] = local[3];
    REQUIRE(global.at(1).size() == 1000);
}

const named_case cases[] = {
    {"new_and_delete", new_and_delete},
    {"new_and_delete_array", new_and_delete_array},
    {"operators", operators},
    {"new_0_is_unique", new_0_is_unique},
    {"new_huge_throws", new_huge_throws},
    {"new_nothrow", new_nothrow},
    {"new_aligned", new_aligned},
    {"new_aligned_types", new_aligned_types},
    {"new_handler", new_handler},
    {"vectors", vectors},
    {"strings_and_maps", strings_and_maps},
    {"lists", lists},
    {"exceptions", exceptions},
    {"constructor_throws", constructor_throws},
    {"smart_pointers", smart_pointers},
    {"globals", globals},
    {nullptr, nullptr},
};

} // namespace

int main(int argc, char **argv)
{
    run_case(argc, argv, cases);
}
