#include "common/http/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/un.h>

#include <cmocka.h>

#include "common/base/attributes.h"

static bool is_public(const char *text)
{
    struct sockaddr_storage storage = {0};
    struct sockaddr_in *ipv4 = (struct sockaddr_in *)&storage;
    struct sockaddr_in6 *ipv6 = (struct sockaddr_in6 *)&storage;
    if (inet_pton(AF_INET, text, &ipv4->sin_addr) == 1) {
        storage.ss_family = AF_INET;
        return http_address_is_public((const struct sockaddr *)&storage, sizeof(*ipv4));
    }
    memset(&storage, 0, sizeof(storage));
    if (inet_pton(AF_INET6, text, &ipv6->sin6_addr) != 1)
        fail_msg("'%s' is no address", text);
    storage.ss_family = AF_INET6;
    return http_address_is_public((const struct sockaddr *)&storage, sizeof(*ipv6));
}

static void expect(bool expected, const char *const *addresses, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (is_public(addresses[i]) != expected)
            fail_msg("%s counts as %s", addresses[i], expected ? "not public" : "public");
    }
}

/* First and last address of every special IPv4 block are refused. */
static void test_special_ipv4_is_not_public(void **state)
{
    (void)state;
    static const char *const addresses[] = {
        "0.0.0.0",    "0.255.255.255",   "10.0.0.0",     "10.255.255.255",  "100.64.0.0",  "100.127.255.255",
        "127.0.0.1",  "127.255.255.255", "169.254.0.0",  "169.254.169.254", "172.16.0.0",  "172.31.255.255",
        "192.0.0.8",  "192.0.2.1",       "192.88.99.1",  "192.168.0.0",     "192.168.1.1", "192.168.255.255",
        "198.18.0.0", "198.19.255.255",  "198.51.100.1", "203.0.113.255",   "224.0.0.1",   "239.255.255.255",
        "240.0.0.0",  "255.255.255.255",
    };
    expect(false, addresses, ARRAY_LENGTH(addresses));
}

/* The neighbours of every special IPv4 block are ordinary addresses. */
static void test_neighbours_of_special_ipv4_are_public(void **state)
{
    (void)state;
    static const char *const addresses[] = {
        "1.0.0.0",         "9.255.255.255", "11.0.0.0",        "100.63.255.255",  "100.128.0.0",
        "126.255.255.255", "128.0.0.0",     "169.253.255.255", "169.255.0.0",     "172.15.255.255",
        "172.32.0.0",      "192.0.1.0",     "192.88.98.255",   "192.167.255.255", "192.169.0.0",
        "198.17.255.255",  "198.20.0.0",    "203.0.112.255",   "223.255.255.255",
    };
    expect(true, addresses, ARRAY_LENGTH(addresses));
}

/* Loopback, unspecified, local, multicast, documentation and tunnel addresses of IPv6 are refused. */
static void test_special_ipv6_is_not_public(void **state)
{
    (void)state;
    static const char *const addresses[] = {
        "::",      "::1",        "::7f00:1",     "100::1",  "2001::1",     "2001:1ff:ffff::", "2001:db8::1",
        "3fff::1", "3fff:fff::", "5f00::1",      "fc00::1", "fdff:ffff::", "fe80::1",         "febf::1",
        "fec0::1", "ff02::1",    "64:ff9b:1::1", "4000::1", "1fff::1",
    };
    expect(false, addresses, ARRAY_LENGTH(addresses));
}

/* Global unicast addresses of IPv6 are accepted. */
static void test_global_unicast_ipv6_is_public(void **state)
{
    (void)state;
    static const char *const addresses[] = {"2001:200::1", "2606:4700::1111", "2a00::1", "3ffe::1", "3fff:1000::1"};
    expect(true, addresses, ARRAY_LENGTH(addresses));
}

/* An IPv6 address that carries an IPv4 address is judged by what it carries. */
static void test_embedded_ipv4_decides(void **state)
{
    (void)state;
    static const char *const hidden[] = {"::ffff:127.0.0.1",         "::ffff:10.1.2.3", "64:ff9b::192.168.0.1",
                                         "64:ff9b::169.254.169.254", "2002:a00:1::1",   "2002:7f00:1::"};
    static const char *const open[] = {"::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1"};
    expect(false, hidden, ARRAY_LENGTH(hidden));
    expect(true, open, ARRAY_LENGTH(open));
}

/* Other families and cut-off structures are refused. */
static void test_unknown_address_is_not_public(void **state)
{
    (void)state;
    struct sockaddr_un local = {.sun_family = AF_UNIX, .sun_path = "/run/service"};
    assert_false(http_address_is_public((const struct sockaddr *)&local, sizeof(local)));

    struct sockaddr_in ipv4 = {.sin_family = AF_INET};
    assert_int_equal(inet_pton(AF_INET, "8.8.8.8", &ipv4.sin_addr), 1);
    assert_true(http_address_is_public((const struct sockaddr *)&ipv4, sizeof(ipv4)));
    assert_false(http_address_is_public((const struct sockaddr *)&ipv4, sizeof(ipv4) - 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_special_ipv4_is_not_public), cmocka_unit_test(test_neighbours_of_special_ipv4_are_public),
        cmocka_unit_test(test_special_ipv6_is_not_public), cmocka_unit_test(test_global_unicast_ipv6_is_public),
        cmocka_unit_test(test_embedded_ipv4_decides),      cmocka_unit_test(test_unknown_address_is_not_public),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
