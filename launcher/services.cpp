// Which store a job has.
#include "services.hpp"

#include "options.hpp"
#include "store_services.hpp"

namespace concerto {

std::unique_ptr<JobServices> make_job_services(const ServiceOptions& options) {
  return is_etcd(options.assignment.rendezvous) ? make_etcd_services(options) : make_embedded_services(options);
}

}  // namespace concerto
