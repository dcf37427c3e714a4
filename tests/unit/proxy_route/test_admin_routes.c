/* The page behind `isthmus ctl routes`. */
#include <criterion/criterion.h>
#include <string.h>

#include "lane.h"
#include "proxy/admin/routes.h"

TestSuite(admin_routes, .timeout = 30);

Test(admin_routes, are_told_rule_by_rule_in_the_order_in_which_they_are_tried)
{
    static const char *const rows[] = {
        "{\"service\":\"echo.mesh.svc.cluster.local\",\"port\":80,\"callers\":\"all\",\"host\":\"*"
        "\","
        "\"rule\":\"mesh/r/1\",\"match\":\"GET /a header x = \\\"1\\\"\",\"action\":\"redirect 302 "
        " "
        "example.org \"}",
        "\"rule\":\"mesh/r/0\",\"match\":\"any /b[/*]\",\"action\":\"to 9 "
        "mesh/echo-v1.mesh.svc.cluster.local:80, 1 mesh/nobody.mesh.svc.cluster.local:80 (not "
        "there), timeout 1.5s, 2 retries\"}",
    };
    struct lane lane;
    struct text page = {0};
    size_t at = 0;
    lane_begin(&lane);
    lane_route(
        &lane, "HTTPRoute", "mesh", "r", "2026-01-01T00:00:00Z",
        "{group: \"\", kind: Service, name: echo, port: 80}",
        "{matches: [{path: {value: /b}}], timeouts: {request: 1500ms}, retry: {attempts: 2}, "
        "backendRefs: [{name: echo-v1, port: 80, weight: 9}, {name: nobody, port: 80}]}, "
        "{matches: [{path: {type: Exact, value: /a}, method: GET, headers: [{name: x, value: "
        "\"1\"}]}], filters: [{type: RequestRedirect, requestRedirect: {hostname: "
        "example.org}}]}");
    lane_build(&lane);
    view_routes(lane.snapshot, STR("echo.mesh"), &page);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *found = strstr(page.ptr + at, rows[i]);
        cr_assert_not_null(found, "%s is not behind %zu in %s", rows[i], at, page.ptr);
        at = (size_t)(found - page.ptr);
    }
    text_clear(&page);
    view_routes(lane.snapshot, STR("nobody"), &page);
    cr_expect_str_eq(page.ptr, "{\"routes\":[]}\n");
    text_fini(&page);
    lane_end(&lane);
}
