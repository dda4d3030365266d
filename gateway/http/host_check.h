#pragma once

// What keeps web pages away from the HTTP listeners (ADR 20): two rules, read off fields of the
// request that no page can change. Pure functions.

#include "gateway/frontend/host_rules.h"
#include "gateway/http/request.h"

namespace bulla {

// 421 when the request is for another server. One that names no host at all, which HTTP/1.0 allows
// and no browser does, is for any.
HttpRefusal CheckHost(const HostRules& hosts, const HttpRequest& request);

// 403 when a browser says that another site's page sent it. For requests that change something.
HttpRefusal CheckSameOrigin(const HttpRequest& request);

}  // namespace bulla
