// SoftHSM2 through PKCS#11, as any HSM is used: CKM_ECDSA, one C_SignInit and one C_Sign a
// signature. Its nonce is random, its s is not normalised, there is no recovery id.

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <stdexcept>

#include <dlfcn.h>
#include <p11-kit/pkcs11.h>

#include "bench/peers/raw/engine.h"

namespace peers {
namespace {

constexpr char kModule[] = "/usr/lib/softhsm/libsofthsm2.so";
// The object identifier 1.3.132.0.10, in DER.
constexpr bulla::ByteArray<7> kSecp256k1Oid{0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a};

void Require(CK_RV result, const char* what) {
  if (result != CKR_OK) throw std::runtime_error(fmt::format("PKCS#11: {}: {:#x}", what, result));
}

constexpr CK_ULONG kPinBytes = 4;
// Of the officer and of the user. PKCS#11 knows no const.
unsigned char* Pin() {
  static bulla::ByteArray<kPinBytes> pin{'1', '2', '3', '4'};
  return pin.data();
}

// A token in a folder of its own. One at a time in a process, as PKCS#11 has it.
class Token {
 public:
  Token();
  ~Token() {
    functions_->C_Finalize(nullptr);
    std::filesystem::remove_all(folder_);
  }
  Token(const Token&) = delete;
  Token& operator=(const Token&) = delete;

  CK_FUNCTION_LIST& functions() const { return *functions_; }
  CK_SESSION_HANDLE OpenSession() const {
    CK_SESSION_HANDLE session = 0;
    Require(functions_->C_OpenSession(slot_, CKF_SERIAL_SESSION | CKF_RW_SESSION, nullptr, nullptr,
                                      &session),
            "C_OpenSession");
    return session;
  }

 private:
  void Load();
  void Initialise();

  std::string folder_;
  CK_FUNCTION_LIST* functions_ = nullptr;
  CK_SLOT_ID slot_ = 0;
};

Token::Token() : folder_((std::filesystem::temp_directory_path() / "softhsm-XXXXXX").string()) {
  if (::mkdtemp(folder_.data()) == nullptr) throw std::runtime_error("no temporary folder");
  std::string configuration = folder_ + "/softhsm2.conf";
  std::ofstream(configuration) << "directories.tokendir = " << folder_
                               << "\nobjectstore.backend = file\nlog.level = ERROR\n";
  ::setenv("SOFTHSM2_CONF", configuration.c_str(), 1);  // NOLINT(concurrency-mt-unsafe)
  Load();
  Initialise();
}

void Token::Load() {
  void* module = ::dlopen(kModule, RTLD_NOW | RTLD_LOCAL);  // stays until the process ends
  if (module == nullptr) {
    throw std::runtime_error(fmt::format("{} is not there: apt-get install softhsm2", kModule));
  }
  auto get_functions = reinterpret_cast<CK_C_GetFunctionList>(::dlsym(module, "C_GetFunctionList"));
  if (get_functions == nullptr) throw std::runtime_error("no C_GetFunctionList");
  Require(get_functions(&functions_), "C_GetFunctionList");
}

void Token::Initialise() {
  CK_C_INITIALIZE_ARGS arguments{};
  arguments.flags = CKF_OS_LOCKING_OK;
  Require(functions_->C_Initialize(&arguments), "C_Initialize");
  bulla::ByteArray<32> label;
  label.fill(' ');
  CK_ULONG count = 1;
  Require(functions_->C_GetSlotList(CK_TRUE, &slot_, &count), "C_GetSlotList");
  Require(functions_->C_InitToken(slot_, Pin(), kPinBytes, label.data()), "C_InitToken");
  // The token has a slot of a new number now, before that of the next one to be made.
  std::vector<CK_SLOT_ID> slots(2);
  count = slots.size();
  Require(functions_->C_GetSlotList(CK_TRUE, slots.data(), &count), "C_GetSlotList");
  slot_ = slots.front();
  CK_SESSION_HANDLE session = OpenSession();
  Require(functions_->C_Login(session, CKU_SO, Pin(), kPinBytes), "C_Login");
  Require(functions_->C_InitPIN(session, Pin(), kPinBytes), "C_InitPIN");
  Require(functions_->C_CloseSession(session), "C_CloseSession");
}

struct Handles {
  CK_OBJECT_HANDLE private_key = 0;
  CK_OBJECT_HANDLE public_key = 0;
};

template <typename T>
CK_ATTRIBUTE Attribute(CK_ATTRIBUTE_TYPE type, T& value) {
  return {type, &value, sizeof value};
}

CK_OBJECT_HANDLE ImportPrivate(const Token& token, CK_SESSION_HANDLE session, RawKey key,
                               bool on_token) {
  CK_OBJECT_CLASS object_class = CKO_PRIVATE_KEY;
  CK_KEY_TYPE type = CKK_EC;
  bulla::ByteArray<7> oid = kSecp256k1Oid;
  CK_BBOOL yes = CK_TRUE;
  CK_BBOOL stays = on_token ? CK_TRUE : CK_FALSE;
  std::array attributes{Attribute(CKA_CLASS, object_class), Attribute(CKA_KEY_TYPE, type),
                        Attribute(CKA_EC_PARAMS, oid),      Attribute(CKA_VALUE, key.secret),
                        Attribute(CKA_TOKEN, stays),        Attribute(CKA_PRIVATE, yes),
                        Attribute(CKA_SENSITIVE, yes),      Attribute(CKA_SIGN, yes)};
  CK_OBJECT_HANDLE handle = 0;
  Require(token.functions().C_CreateObject(session, attributes.data(), attributes.size(), &handle),
          "C_CreateObject of a private key");
  return handle;
}

CK_OBJECT_HANDLE ImportPublic(const Token& token, CK_SESSION_HANDLE session, const RawKey& key,
                              bool on_token) {
  CK_OBJECT_CLASS object_class = CKO_PUBLIC_KEY;
  CK_KEY_TYPE type = CKK_EC;
  bulla::ByteArray<7> oid = kSecp256k1Oid;
  CK_BBOOL yes = CK_TRUE;
  CK_BBOOL stays = on_token ? CK_TRUE : CK_FALSE;
  bulla::ByteArray<67> point{0x04, 65};  // an OCTET STRING
  std::ranges::copy(key.point, point.begin() + 2);
  std::array attributes{Attribute(CKA_CLASS, object_class), Attribute(CKA_KEY_TYPE, type),
                        Attribute(CKA_EC_PARAMS, oid),      Attribute(CKA_EC_POINT, point),
                        Attribute(CKA_TOKEN, stays),        Attribute(CKA_VERIFY, yes)};
  CK_OBJECT_HANDLE handle = 0;
  Require(token.functions().C_CreateObject(session, attributes.data(), attributes.size(), &handle),
          "C_CreateObject of a public key");
  return handle;
}

class SoftHsmSession final : public RawSession {
 public:
  SoftHsmSession(const Token& token, std::span<const Handles> keys)
      : functions_(token.functions()), keys_(keys), session_(token.OpenSession()) {}
  ~SoftHsmSession() override { functions_.C_CloseSession(session_); }

  bool Sign(std::size_t key, const bulla::Digest32& digest, RawSignature& out) override {
    CK_MECHANISM mechanism{CKM_ECDSA, nullptr, 0};
    bulla::Digest32 data = digest;
    CK_ULONG length = out.bytes.size();
    bool done =
        functions_.C_SignInit(session_, &mechanism, keys_[key].private_key) == CKR_OK &&
        functions_.C_Sign(session_, data.data(), data.size(), out.bytes.data(), &length) == CKR_OK;
    out.length = length;
    return done;
  }

  bool Verify(std::size_t key, const bulla::Digest32& digest,
              const RawSignature& signature) override {
    CK_MECHANISM mechanism{CKM_ECDSA, nullptr, 0};
    bulla::Digest32 data = digest;
    RawSignature copy = signature;
    return functions_.C_VerifyInit(session_, &mechanism, keys_[key].public_key) == CKR_OK &&
           functions_.C_Verify(session_, data.data(), data.size(), copy.bytes.data(),
                               copy.length) == CKR_OK;
  }

 private:
  CK_FUNCTION_LIST& functions_;
  const std::span<const Handles> keys_;
  const CK_SESSION_HANDLE session_;
};

class SoftHsmEngine final : public RawEngine {
 public:
  SoftHsmEngine(std::shared_ptr<const Token> token, std::span<const RawKey> keys, bool on_token)
      : token_(std::move(token)), owner_(token_->OpenSession()) {
    // A login is of all sessions; the other engine of the process may have made it.
    CK_RV login = token_->functions().C_Login(owner_, CKU_USER, Pin(), kPinBytes);
    if (login != CKR_USER_ALREADY_LOGGED_IN) Require(login, "C_Login");
    for (const RawKey& key : keys) {
      handles_.push_back({ImportPrivate(*token_, owner_, key, on_token),
                          ImportPublic(*token_, owner_, key, on_token)});
    }
  }

  std::string Version() const override {
    CK_INFO info{};
    token_->functions().C_GetInfo(&info);
    return fmt::format("SoftHSM {}.{}", info.libraryVersion.major, info.libraryVersion.minor);
  }
  std::unique_ptr<RawSession> OpenSession() override {
    return std::make_unique<SoftHsmSession>(*token_, handles_);
  }

 private:
  const std::shared_ptr<const Token> token_;
  const CK_SESSION_HANDLE owner_;  // session objects live as long as it
  std::vector<Handles> handles_;   // of each key
};

}  // namespace

std::unique_ptr<RawEngine> MakeSoftHsmEngine(std::span<const RawKey> keys, bool on_token) {
  // The last engine that is gone takes the token along. Not thread-safe.
  static std::weak_ptr<const Token> shared;
  std::shared_ptr<const Token> token = shared.lock();
  if (token == nullptr) shared = token = std::make_shared<const Token>();
  return std::make_unique<SoftHsmEngine>(std::move(token), keys, on_token);
}

}  // namespace peers
