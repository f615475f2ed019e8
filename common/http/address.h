/* Which network addresses are not on the public internet.
 *
 * For requests whose URL came from outside (the certificate of a webhook's signature): such a request must reach no
 * service of this machine, its network or its cloud. Judges the address that is about to be connected to, never a host
 * name. Pure, any thread. */
#ifndef TANDEM_HTTP_ADDRESS_H
#define TANDEM_HTTP_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

/* True only for IPv4 and IPv6 addresses that the IANA special-purpose registries (RFC 6890 and later entries) call
 * globally reachable unicast. IPv4-mapped, NAT64 and 6to4 addresses are judged by the IPv4 address in them. */
bool http_address_is_public(const struct sockaddr *address, socklen_t length);

#endif
