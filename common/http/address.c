#include "common/http/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "common/base/attributes.h"

struct ipv4_block {
    uint32_t network;
    unsigned prefix_bits;
};

struct ipv6_block {
    uint8_t network[16];
    unsigned prefix_bits;
};

#define IPV4(a, b, c, d) ((uint32_t)(a) << 24 | (uint32_t)(b) << 16 | (uint32_t)(c) << 8 | (uint32_t)(d))

static const struct ipv4_block special_ipv4[] = {
    {IPV4(0, 0, 0, 0), 8},       /* this network */
    {IPV4(10, 0, 0, 0), 8},      /* private */
    {IPV4(100, 64, 0, 0), 10},   /* carrier-grade NAT */
    {IPV4(127, 0, 0, 0), 8},     /* loopback */
    {IPV4(169, 254, 0, 0), 16},  /* link-local, cloud metadata */
    {IPV4(172, 16, 0, 0), 12},   /* private */
    {IPV4(192, 0, 0, 0), 24},    /* IETF protocols */
    {IPV4(192, 0, 2, 0), 24},    /* documentation */
    {IPV4(192, 88, 99, 0), 24},  /* 6to4 relays, withdrawn */
    {IPV4(192, 168, 0, 0), 16},  /* private */
    {IPV4(198, 18, 0, 0), 15},   /* benchmarks */
    {IPV4(198, 51, 100, 0), 24}, /* documentation */
    {IPV4(203, 0, 113, 0), 24},  /* documentation */
    {IPV4(224, 0, 0, 0), 4},     /* multicast */
    {IPV4(240, 0, 0, 0), 4},     /* reserved, broadcast */
};

/* Inside 2000::/3, the only part of IPv6 given out as global unicast. */
static const struct ipv6_block special_ipv6[] = {
    {{0x20, 0x01, 0x00, 0x00}, 23}, /* IETF protocols, Teredo, ORCHID */
    {{0x20, 0x01, 0x0D, 0xB8}, 32}, /* documentation */
    {{0x3F, 0xFF}, 20},             /* documentation */
};

static const struct ipv6_block global_unicast = {{0x20}, 3};
static const struct ipv6_block ipv4_mapped = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF}, 96};
static const struct ipv6_block nat64 = {{0x00, 0x64, 0xFF, 0x9B}, 96};
static const struct ipv6_block six_to_four = {{0x20, 0x02}, 16};

static bool is_in_ipv4_block(uint32_t address, const struct ipv4_block *block)
{
    return (address ^ block->network) >> (32 - block->prefix_bits) == 0;
}

static bool is_in_ipv6_block(const uint8_t address[static 16], const struct ipv6_block *block)
{
    unsigned whole = block->prefix_bits / 8;
    unsigned rest = block->prefix_bits % 8;
    if (memcmp(address, block->network, whole) != 0)
        return false;
    return rest == 0 || (address[whole] ^ block->network[whole]) >> (8 - rest) == 0;
}

static bool is_public_ipv4(uint32_t address)
{
    for (size_t i = 0; i < ARRAY_LENGTH(special_ipv4); i++) {
        if (is_in_ipv4_block(address, &special_ipv4[i]))
            return false;
    }
    return true;
}

static uint32_t ipv4_at(const uint8_t *bytes)
{
    return IPV4(bytes[0], bytes[1], bytes[2], bytes[3]);
}

static bool is_public_ipv6(const uint8_t address[static 16])
{
    if (is_in_ipv6_block(address, &ipv4_mapped) || is_in_ipv6_block(address, &nat64))
        return is_public_ipv4(ipv4_at(address + 12));
    if (is_in_ipv6_block(address, &six_to_four))
        return is_public_ipv4(ipv4_at(address + 2));
    for (size_t i = 0; i < ARRAY_LENGTH(special_ipv6); i++) {
        if (is_in_ipv6_block(address, &special_ipv6[i]))
            return false;
    }
    return is_in_ipv6_block(address, &global_unicast);
}

/* Copied out, since the caller's storage need not be aligned for the family's own struct. */
bool http_address_is_public(const struct sockaddr *address, socklen_t length)
{
    if (address->sa_family == AF_INET && length >= sizeof(struct sockaddr_in)) {
        struct sockaddr_in ipv4;
        memcpy(&ipv4, address, sizeof(ipv4));
        return is_public_ipv4(ntohl(ipv4.sin_addr.s_addr));
    }
    if (address->sa_family == AF_INET6 && length >= sizeof(struct sockaddr_in6)) {
        struct sockaddr_in6 ipv6;
        memcpy(&ipv6, address, sizeof(ipv6));
        return is_public_ipv6(ipv6.sin6_addr.s6_addr);
    }
    return false;
}
